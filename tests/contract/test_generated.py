"""Generated files are those that their sources give."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GENERATED = ["messenger_pb2.py", "messenger_pb2.pyi", "messenger_pb2_grpc.py"]


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make proto` would write, elsewhere."""
    out = tmp_path_factory.mktemp("proto")
    shown = subprocess.run(
        ["make", "--always-make", "--dry-run", "proto"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    command = shown.stdout.replace("\\\n", " ").partition("-m grpc_tools.protoc")[2].split("\n")[0]
    words = [word.replace("out=src", f"out={out}") for word in command.split()]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *words], cwd=ROOT, check=True)
    return out / "palaver" / "contracts"


@pytest.mark.parametrize("name", GENERATED)
def test_stubs_are_those_of_the_contract(generated: Path, name: str) -> None:
    """Gateway and messenger would speak another contract than the one that is read."""
    current = ROOT / "src" / "palaver" / "contracts" / name
    assert current.read_text() == (generated / name).read_text(), "run `make proto`"
