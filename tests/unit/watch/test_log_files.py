"""Files that are appended to and rotated."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.runtime.startup import StartError
from palaver.watch import log_files as files
from palaver.watch.log_files import KeptFile, close_all, kept_paths, lines_backwards, open_kept


def write(directory: Path, **texts: str) -> None:
    """Writes files; `gateway_log_1` is `gateway.log.1`."""
    for name, text in texts.items():
        (directory / name.replace("_", ".")).write_text(text)


def test_paths_come_newest_first(tmp_path: Path) -> None:
    """An old file would be taken for the newest, and lines come in the wrong order."""
    write(
        tmp_path, gateway_log="", gateway_log_1="", gateway_log_2="", gateway_log_10="", auth_log="", other=""
    )
    write(tmp_path, gateway_log_gz="", gateway_jsonl="")
    assert [path.name for _service, path in kept_paths(tmp_path, "log")] == [
        "auth.log",
        "gateway.log",
        "gateway.log.1",
        "gateway.log.2",
        "gateway.log.10",
    ]


def test_no_directory_has_no_files(tmp_path: Path) -> None:
    """A Palaver that has written no trace yet would end the command with a traceback."""
    assert kept_paths(tmp_path / "none", "log") == []


def test_a_directory_that_is_none_is_told(tmp_path: Path) -> None:
    """An operator would read a traceback."""
    write(tmp_path, logs="")
    with pytest.raises(StartError, match="cannot read"):
        kept_paths(tmp_path / "logs", "log")


def test_a_file_under_two_names_is_read_once(tmp_path: Path) -> None:
    """A rotation while the files are opened would show lines twice."""
    write(tmp_path, gateway_log="x")
    (tmp_path / "gateway.log.1").hardlink_to(tmp_path / "gateway.log")
    kept = open_kept(tmp_path, "log")
    close_all(kept)
    assert len(kept) == 1


def test_an_open_file_is_read_after_its_deletion(tmp_path: Path) -> None:
    """A rotation while the files are read would hide lines."""
    write(tmp_path, gateway_log="one\ntwo\n")
    [kept] = open_kept(tmp_path, "log")
    (tmp_path / "gateway.log").unlink()
    assert list(lines_backwards(kept)) == [b"two", b"one"]
    close_all([kept])


@given(text=st.text("ab\n", max_size=60), needle=st.sampled_from([b"", b"a", b"ba"]), size=st.integers(1, 9))
@settings(deadline=None)
def test_lines_come_back_in_reverse(
    tmp_path_factory: pytest.TempPathFactory, text: str, needle: bytes, size: int
) -> None:
    """Lines that cross the border of two blocks would be cut, doubled or lost."""
    path = tmp_path_factory.mktemp("kept") / "gateway.log"
    path.write_text(text)
    before, files.CHUNK_BYTES = files.CHUNK_BYTES, size
    try:
        with path.open("rb", buffering=0) as file:
            found = list(lines_backwards(KeptFile("gateway", file, len(text)), needle))
    finally:
        files.CHUNK_BYTES = before
    lines = [line for line in reversed(text.encode().split(b"\n")) if line]
    if not needle:
        assert found == lines
    # More may come than have the needle, but none is missing, and none is made up
    assert [line for line in found if needle in line] == [line for line in lines if needle in line]
    assert set(found) <= set(lines)
