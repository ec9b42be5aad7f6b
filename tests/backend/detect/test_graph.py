"""The compiled graph against torch."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from backend.detect import graph
from backend.detect.graph import Graph, GraphNet
from backend.detect.network import INPUT_SIZE, fuse
from backend.detect.weights_file import load_network

pytestmark = pytest.mark.skipif(not graph.is_available(), reason="OpenVINO is not installed")


def test_graph_says_what_torch_says() -> None:
    net = fuse(load_network())
    compiled = GraphNet(net, INPUT_SIZE, patience=0)
    torch.manual_seed(0)
    for count in (3, 1, 8):
        windows = torch.rand(count, 3, INPUT_SIZE, INPUT_SIZE) * 255
        with torch.inference_mode():
            expected, found = net(windows), compiled(windows)
        # A twentieth of a pixel of the window is what the graph may differ by.
        assert (found.points - expected.points).abs().max() * INPUT_SIZE / 2 < 0.05
        assert torch.allclose(found.log_sigma, expected.log_sigma, atol=1e-3)
        assert torch.allclose(found.presence, expected.presence, atol=1e-2)


def test_pictures_of_any_shape_agree_too() -> None:
    net = fuse(load_network())
    compiled = GraphNet(net, INPUT_SIZE, patience=0)
    torch.manual_seed(1)
    for height, width in ((160, 224), (128, 128), (288, 192)):
        image = torch.rand(1, 3, height, width) * 255
        with torch.inference_mode():
            expected, found = net.forward_pyramid(image), compiled.forward_pyramid(image)
        assert found.presence.shape == expected.presence.shape
        assert (found.points - expected.points).abs().max() * INPUT_SIZE / 2 < 0.05


def test_graph_is_compiled_only_when_it_pays() -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2))
    lazy = Graph(net, 8, patience=2)
    images = torch.rand(1, 3, 8, 8)
    with torch.inference_mode():
        for _ in range(2):
            lazy(images)
        assert lazy._compiled is None
        found = lazy(images)
        assert lazy._compiled is not None
        assert torch.allclose(found[0], net(images), atol=1e-5)


def test_nothing_is_reported_over_the_network() -> None:
    """Left to itself, OpenVINO starts a process that sends statistics."""
    script = """
import sys
events = []
names = ("os.fork", "socket.getaddrinfo", "socket.connect", "subprocess.Popen")
sys.addaudithook(lambda name, _: events.append(name) if name in names else None)
import torch
from backend.detect.graph import Graph
events.clear()
graph = Graph(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2)), 8, patience=0)
with torch.inference_mode():
    graph(torch.rand(1, 3, 8, 8))
assert graph._compiled is not None
print(events)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_what_openvino_cannot_compile_runs_in_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))
    lazy = Graph(net, 8, patience=0)

    def refuse() -> None:
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(lazy, "_compile", refuse)
    images = torch.rand(1, 3, 8, 8)
    with torch.inference_mode(), pytest.warns(UserWarning, match="no such instruction"):
        assert torch.equal(lazy(images)[0], net(images))
