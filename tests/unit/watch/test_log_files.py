"""Files that are appended to and rotated."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.runtime.startup import StartError
from palaver.watch.log_files import LogFile, list_files, open_files


def write(directory: Path, **texts: str) -> None:
    """Writes files; `gateway_log_1` is `gateway.log.1`."""
    for name, text in texts.items():
        (directory / name.replace("_", ".")).write_text(text)


def files_of(directory: Path) -> list[LogFile]:
    """Its logs, open."""
    opened: dict[tuple[int, int], LogFile] = {}
    open_files(directory, "log", opened)
    return list(opened.values())


def test_paths_come_newest_first(tmp_path: Path) -> None:
    """An old file would be taken for the newest, and lines come in the wrong order."""
    write(
        tmp_path, gateway_log="", gateway_log_1="", gateway_log_2="", gateway_log_10="", auth_log="", other=""
    )
    write(tmp_path, gateway_log_gz="", gateway_jsonl="")
    assert [path.name for _service, path in list_files(tmp_path, "log")] == [
        "auth.log",
        "gateway.log",
        "gateway.log.1",
        "gateway.log.2",
        "gateway.log.10",
    ]


def test_no_directory_has_no_files(tmp_path: Path) -> None:
    """A Palaver that has written no trace yet would end the command with a traceback."""
    assert list_files(tmp_path / "none", "log") == []


def test_a_directory_that_is_none_is_told(tmp_path: Path) -> None:
    """An operator would read a traceback."""
    write(tmp_path, logs="")
    with pytest.raises(StartError, match="cannot read"):
        list_files(tmp_path / "logs", "log")


def test_a_file_under_two_names_is_read_once(tmp_path: Path) -> None:
    """A rotation while the files are opened would show lines twice."""
    write(tmp_path, gateway_log="x")
    (tmp_path / "gateway.log.1").hardlink_to(tmp_path / "gateway.log")
    opened = files_of(tmp_path)
    for file in opened:
        file.close()
    assert len(opened) == 1


def test_an_open_file_is_read_after_its_deletion(tmp_path: Path) -> None:
    """A rotation while the files are read would hide lines."""
    write(tmp_path, gateway_log="one\ntwo\n")
    [file] = files_of(tmp_path)
    (tmp_path / "gateway.log").unlink()
    assert list(file.lines()) == [b"one", b"two"]
    file.close()


@given(
    texts=st.lists(st.text("ab\n", max_size=20), max_size=5),
    needle=st.sampled_from([b"", b"a", b"ba"]),
)
@settings(deadline=None)
def test_lines_are_whole_wherever_reading_begins(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], needle: bytes
) -> None:
    """Lines that were half written when they were read would be cut, doubled or lost."""
    path = tmp_path_factory.mktemp("logs") / "gateway.log"
    path.touch()
    file = LogFile("gateway", path)
    found: list[bytes] = []
    for text in texts:
        with path.open("a") as appended:
            appended.write(text)
        found += file.lines(needle)
    found += file.lines(needle, is_final=True)
    assert file.lines(is_final=True) == []
    file.close()
    lines = [line for line in "".join(texts).encode().split(b"\n") if line]
    assert found == [line for line in lines if needle in line]


def test_a_file_names_an_instance_and_its_service(tmp_path: Path) -> None:
    """Lines of a second gateway would be mixed into those of the first, or belong to nobody."""
    write(tmp_path, **{"gateway-2_log_1": "x\n", "gateway_log": "y\n"})
    opened = files_of(tmp_path)
    for file in opened:
        file.close()
    assert [(file.instance, file.service) for file in opened] == [
        ("gateway", "gateway"),
        ("gateway-2", "gateway"),
    ]
