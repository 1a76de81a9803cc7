"""Whether a database can be used now."""

from pathlib import Path

from palaver.runtime.sql.health import has_free_space


async def test_a_disk_that_is_gone_has_no_room(tmp_path: Path) -> None:
    """`/readyz` would fail, and gRPC's health service would go on saying for ever what it said last."""
    assert await has_free_space(tmp_path / "auth.db")
    assert not await has_free_space(tmp_path / "gone" / "auth.db")
