"""Methods of the messenger's contract that are served past the generated stubs."""

ATTACH = "/palaver.v1.Messenger/Attach"
