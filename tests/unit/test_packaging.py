"""The wheel holds what the console needs beside its modules."""

from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]


def test_wheel_holds_templates_files_and_catalogues() -> None:
    shipped = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    needed = {
        str(path.relative_to(ROOT))
        for pattern in ("templates/**/*.html", "static/*.*", "locale/*/*.po")
        for path in (ROOT / "router" / "web" / "console").glob(pattern)
    }
    assert len(needed) > 15
    assert needed - shipped == set()
