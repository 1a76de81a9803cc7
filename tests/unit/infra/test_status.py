"""How an engine is shown."""

from palaver.infra.status import EngineStatus


def test_an_engine_that_runs_and_does_not_answer_is_not_well() -> None:
    """`palaver infra status` would call a hanging server well."""
    hanging = EngineStatus(
        "mysql", runs=True, ports=(23_300,), pid=7, complaint="Access denied", data_bytes=0
    )
    assert not hanging.answers
    assert hanging.line() == (
        "mysql                process 7, port 23300, does not answer: Access denied, 0.0 MiB of data"
    )


def test_what_does_not_run_keeps_its_size() -> None:
    """An operator could not see whether stopped engines have data."""
    assert EngineStatus("redis", runs=False, ports=(1,), data_bytes=2**20).line() == (
        "redis                does not run, 1.0 MiB of data"
    )
