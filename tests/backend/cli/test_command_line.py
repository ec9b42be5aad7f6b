"""The command line without any tracking: help, settings, refusals and exit codes."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backend import errors
from backend.cli import main
from backend.cli.outcome import exit_code_of, is_interrupted
from backend.cli.progress import FarmView
from backend.samples import PERFORMANCE
from backend.stages import Reporter


def run(arguments: list[str]) -> int:
    """Exit code of a command in this process."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return int(caught.value.code or 0)


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["track"],
        ["refine"],
        ["identity"],
        ["landmarks"],
        ["bake"],
        ["export"],
        ["serve"],
        ["bench"],
    ],
)
def test_help_reads_well_and_loads_nothing_heavy(command: list[str]) -> None:
    heavy = ("torch", "cv2", "av", "scipy", "zmq", "moderngl", "pxr", "pygltflib")
    code = (
        "import sys\nfrom backend.cli import main\n"
        f"try:\n    main({[*command, '--help']!r})\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        f"print('loaded:', [name for name in {heavy!r} if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.rstrip().endswith("loaded: []")
    assert "usage: mien" in shown.stdout
    if command:
        # Every option has a sentence: tyro shows "(required)" or a default alone where it has none.
        assert "Missing" not in shown.stdout
    else:
        for name in ("track", "refine", "identity", "landmarks", "export", "serve", "bench"):
            assert name in shown.stdout


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from shared.version import __version__

    main(["--version"])
    assert capsys.readouterr().out == f"mien {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["track", "gone.mp4", "-o", "out.npz"], "gone.mp4: no such file"),
        (["track", "gone.mp4", "-o", "out.txt"], "must end in .npz"),
        (["track", "gone.mp4", "-o", "out.npz", "--overlay", "o.avi"], "must end in .mp4 or .png"),
        (["track", "gone", "-o", "o.npz", "--start", "5", "--end", "2"], "before it starts"),
        (["track", "gone", "-o", "o.npz", "--frame-rate", "0"], "not a frame rate"),
        (["track", "gone.mp4", "-o", "/dev/null/o.npz"], "o.npz: cannot be written"),
        (["track", "gone.mp4", "-o", "o.npz", "--overlay", "/dev/null/o.mp4"], "o.mp4: cannot be"),
        (["refine", "gone.npz", "-o", "/dev/null/o.npz"], "o.npz: cannot be written"),
        (["identity", "gone.jpg", "-o", "/dev/null/o.npz"], "o.npz: cannot be written"),
        (["landmarks", "gone.jpg", "-o", "/dev/null/o.npz"], "o.npz: cannot be written"),
        (["bake", "gone.npz", "gone.mp4", "-o", "/dev/null"], "cannot be written"),
        (["live", "gone.mp4", "-o", "/dev/null/o.npz"], "o.npz: cannot be written"),
        (["live", "gone.mp4", "--head-folder", "/dev/null"], "cannot be written"),
        (["bake", "gone.npz", "a.mp4", "-o", "o", "--write-track", "o.txt"], "must end in .npz"),
        (["bake", "gone.npz", "a.mp4", "-o", "o"], "gone.npz: no such file"),
        (["landmarks", "-o", "out.npz"], "Name pictures"),
        (["landmarks", "gone.png", "-o", "out.txt"], "must end in .npz"),
        (["landmarks", "gone.png", "-o", "out.npz", "--max-faces", "0"], "at least 1"),
        (["track", "-o", "out.npz"], "Name a clip"),
        (["track", "a.mp4", "b.mp4", "-o", "out.npz"], "need --rig"),
        (["track", "a.mp4", "-o", "out.npz", "--offset", "b=2"], "need --rig"),
        (["track", "a.mp4", "--rig", "-o", "out.npz"], "at least two cameras"),
        (["track", "a.mp4", "b.mp4", "--rig", "r.json", "-o", "o.npz"], "r.json: cannot be read"),
        (["track", "a.mp4", "b.mp4", "--rig", "--offset", "c=2", "-o", "o.npz"], "CLIP=FRAMES"),
        (["track", "a.mp4", "-o", "out.npz", "--pins", "p.json"], "p.json: cannot be read"),
        (["track", "a.mp4", "-o", "out.npz", "--ignore-frames", "9-3"], "10-20,35"),
        (["track", "a.mp4", "-o", "out.npz", "--limit", "grin=0:1"], "no expression"),
        (["track", "a.mp4", "-o", "out.npz", "--neutral", "-2"], "counted from 0"),
        (["refine", "gone.npz", "-o", "out.npz"], "gone.npz: no such file"),
        (["refine", "gone.npz", "-o", "out.txt"], "must end in .npz"),
        (["refine", "gone.npz", "-o", "out.npz", "--focal-px", "0"], "must be positive"),
        (["refine", "gone.npz", "-o", "out.npz", "--limit", "jawOpen"], "jawOpen=0:0.3"),
        (["identity", "-o", "out.npz"], "Name photographs or clips"),
        (["identity", "a.jpg", "-o", "out.txt"], "must end in .npz"),
        (["identity", "a.jpg", "-o", "out.npz", "--focal-px", "b.jpg=900"], "NAME=PIXELS"),
        (["identity", "gone.jpg", "-o", "out.npz"], "gone.jpg: no such file"),
        (["export", "gone.npz", "-o", "out.fbx"], "end in .csv, .usdc, .usda, .glb"),
        (["export", "gone.npz", "-o", "out.glb"], "gone.npz: no such file"),
        (["bench", "speed-of-light"], "no benchmark"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    shown = capsys.readouterr().err.strip()
    assert shown.startswith("mien: ") and says in shown and "\n" not in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["track"], ["track", "a.mp4"], ["fly"], ["track", "--fly"]])
def test_misspelt_commands_exit_with_2(arguments: list[str]) -> None:
    assert run(arguments) == 2


def test_subject_is_written_x_comma_y() -> None:
    import tyro

    from backend.settings import TrackSettings

    settings = tyro.cli(TrackSettings, args=["--subject", "120,88.5"])
    assert settings.subject == (120.0, 88.5)
    assert tyro.cli(TrackSettings, args=[]) == TrackSettings()
    with pytest.raises(SystemExit):
        tyro.cli(TrackSettings, args=["--subject", "120"])


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.BadInputError("x"), 2),
        (errors.NoFaceError("x"), 3),
        (errors.CancelledError("x"), 4),
        (KeyboardInterrupt(), 4),
        (errors.OutOfMemoryError("x"), 5),
        (MemoryError(), 5),
        (OutOfMemoryError("CUDA out of memory"), 5),
        (errors.MissingWeightsError("x"), 6),
        (errors.MienError("x"), 1),
    ],
)
def test_exit_codes(error: BaseException, code: int) -> None:
    def fail() -> None:
        raise error

    assert exit_code_of(fail) == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interruption_that_is_swallowed_is_not_forgotten(number: signal.Signals) -> None:
    """Libraries have caught everything while they were imported, and a farm's SIGTERM with it."""
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    # A shell's background jobs begin with Ctrl-C ignored, and so would these tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def work() -> None:
        assert not is_interrupted()
        with contextlib.suppress(BaseException):
            signal.raise_signal(number)
        Reporter(lambda event: None, is_interrupted).check()
        raise AssertionError("it went on")

    try:
        assert exit_code_of(work) == errors.CancelledError.exit_code
        assert exit_code_of(lambda: None) == 0 and not is_interrupted()
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)


def test_tracking_asks_whether_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def track(*arguments: object, **_: object) -> None:
        asked.extend(arguments)
        raise errors.CancelledError("Cancelled.")

    monkeypatch.setattr("backend.pipeline.run_track", track)
    assert run(["track", str(PERFORMANCE), "-o", str(tmp_path / "o.npz")]) == 4
    assert is_interrupted in asked


def test_unknown_errors_keep_their_traceback() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        exit_code_of(fail)


def test_farm_lines_rise_from_0_to_100(capsys: pytest.CaptureFixture[str]) -> None:
    view = FarmView()
    for stage in ("detect", "fit", "pose", "texture"):
        for step in range(11):
            view.update(stage, step / 10)
    lines = capsys.readouterr().out.splitlines()
    percent = [int(line.split()[1]) for line in lines if line.startswith("openjd_progress:")]
    assert percent == sorted(set(percent)) and percent[0] == 0 and percent[-1] == 100
    assert sum(line.startswith("openjd_status:") for line in lines) == 4


def test_bench_writes_its_figures_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = tmp_path / "small_benchmark.py"
    module.write_text("def run(settings):\n    return {'seed': settings.seed * 2, 'half': 0.5}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    from backend.cli import bench

    monkeypatch.setitem(bench.BENCHMARKS, "small", ("small_benchmark", "A small one"))
    path = tmp_path / "figures.json"
    assert run(["bench", "small", "--json", str(path), "--seed", "4"]) == 0
    assert json.loads(path.read_text())["figures"] == {"seed": 8, "half": 0.5}
    assert "half" in capsys.readouterr().out


@pytest.mark.parametrize("model", ["dense", "infinite3d"])
def test_train_names_every_network_and_its_settings(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("moderngl")
    assert run(["train", model, "--help"]) == 0
    shown = capsys.readouterr().out
    for option in ("--shards", "--minutes", "--resume", "--start-from"):
        assert option in shown


def test_train_says_where_samples_are_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("moderngl")
    assert run(["train", "infinite3d", "--shards", str(tmp_path / "nothing")]) == 2
    shown = capsys.readouterr().err
    assert "nothing" in shown and "no shards" in shown


@pytest.mark.parametrize(
    "option",
    [
        ("--overlay", "a.mp4"), ("--identity", "out.npz"), ("--pins", "out.npz"),
        ("--mask", "out.npz"),
    ],
)  # fmt: skip
def test_tracking_does_not_write_over_what_it_reads(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    option: tuple[str, str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.mp4", "out.npz"):
        (tmp_path / name).write_text("kept")
    assert run(["track", "a.mp4", "-o", "out.npz", *option]) == 2
    assert f"{option[1]}: is read by this command" in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["kept", "kept"]
