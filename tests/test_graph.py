"""Groups hold exactly the axes that must shrink together; what isn't known is refused; core.graph.

Groups are written here as a line of members: `+name` is a layer that produces the channels (rows of
its weight, and its bias where it has one), `~name` a batch norm that follows them, `-name` a layer
that consumes them (columns of its weight).
"""

from __future__ import annotations

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import core
from core import zoo
from core.groups import CONSUMES, FOLLOWS, PRODUCES, Coupling

RESNET18 = (
    "+layer4.0.conv2 ~layer4.0.bn2 +layer4.0.downsample.0 ~layer4.0.downsample.1 "
    "-layer4.1.conv1 +layer4.1.conv2 ~layer4.1.bn2 -fc",
    "+layer4.1.conv1 ~layer4.1.bn1 -layer4.1.conv2",
    "+layer4.0.conv1 ~layer4.0.bn1 -layer4.0.conv2",
    "+layer3.0.conv2 ~layer3.0.bn2 +layer3.0.downsample.0 ~layer3.0.downsample.1 "
    "-layer3.1.conv1 +layer3.1.conv2 ~layer3.1.bn2 -layer4.0.conv1 -layer4.0.downsample.0",
    "+layer3.1.conv1 ~layer3.1.bn1 -layer3.1.conv2",
    "+layer3.0.conv1 ~layer3.0.bn1 -layer3.0.conv2",
    "+layer2.0.conv2 ~layer2.0.bn2 +layer2.0.downsample.0 ~layer2.0.downsample.1 "
    "-layer2.1.conv1 +layer2.1.conv2 ~layer2.1.bn2 -layer3.0.conv1 -layer3.0.downsample.0",
    "+layer2.1.conv1 ~layer2.1.bn1 -layer2.1.conv2",
    "+layer2.0.conv1 ~layer2.0.bn1 -layer2.0.conv2",
    "+conv1 ~bn1 -layer1.0.conv1 +layer1.0.conv2 ~layer1.0.bn2 -layer1.1.conv1 +layer1.1.conv2 "
    "~layer1.1.bn2 -layer2.0.conv1 -layer2.0.downsample.0",
    "+layer1.1.conv1 ~layer1.1.bn1 -layer1.1.conv2",
    "+layer1.0.conv1 ~layer1.0.bn1 -layer1.0.conv2",
)
RESNET20 = (
    "+layer3.0.conv2 ~layer3.0.bn2 +layer3.0.downsample.0 ~layer3.0.downsample.1 "
    "-layer3.1.conv1 +layer3.1.conv2 ~layer3.1.bn2 -layer3.2.conv1 +layer3.2.conv2 ~layer3.2.bn2 "
    "-fc",
    "+layer3.2.conv1 ~layer3.2.bn1 -layer3.2.conv2",
    "+layer3.1.conv1 ~layer3.1.bn1 -layer3.1.conv2",
    "+layer3.0.conv1 ~layer3.0.bn1 -layer3.0.conv2",
    "+layer2.0.conv2 ~layer2.0.bn2 +layer2.0.downsample.0 ~layer2.0.downsample.1 "
    "-layer2.1.conv1 +layer2.1.conv2 ~layer2.1.bn2 -layer2.2.conv1 +layer2.2.conv2 ~layer2.2.bn2 "
    "-layer3.0.conv1 -layer3.0.downsample.0",
    "+layer2.2.conv1 ~layer2.2.bn1 -layer2.2.conv2",
    "+layer2.1.conv1 ~layer2.1.bn1 -layer2.1.conv2",
    "+layer2.0.conv1 ~layer2.0.bn1 -layer2.0.conv2",
    "+conv1 ~bn1 -layer1.0.conv1 +layer1.0.conv2 ~layer1.0.bn2 -layer1.1.conv1 +layer1.1.conv2 "
    "~layer1.1.bn2 -layer1.2.conv1 +layer1.2.conv2 ~layer1.2.bn2 -layer2.0.conv1 "
    "-layer2.0.downsample.0",
    "+layer1.2.conv1 ~layer1.2.bn1 -layer1.2.conv2",
    "+layer1.1.conv1 ~layer1.1.bn1 -layer1.1.conv2",
    "+layer1.0.conv1 ~layer1.0.bn1 -layer1.0.conv2",
)
VGG11 = (
    "+features.25 ~features.26 -classifier",
    "+features.22 ~features.23 -features.25",
    "+features.18 ~features.19 -features.22",
    "+features.15 ~features.16 -features.18",
    "+features.11 ~features.12 -features.15",
    "+features.8 ~features.9 -features.11",
    "+features.4 ~features.5 -features.8",
    "+features.0 ~features.1 -features.4",
)
EXPECTED = {
    "resnet18-cifar10": (RESNET18, (512, 512, 512, 256, 256, 256, 128, 128, 128, 64, 64, 64)),
    "resnet18-digits": (RESNET18, (128, 128, 128, 64, 64, 64, 32, 32, 32, 16, 16, 16)),
    "resnet20-cifar10": (RESNET20, (64, 64, 64, 64, 32, 32, 32, 32, 16, 16, 16, 16)),
    "vgg11_bn-cifar10": (VGG11, (512, 512, 512, 512, 256, 256, 128, 64)),
    "vgg11_bn-digits": (VGG11, (128, 128, 128, 128, 64, 64, 32, 16)),
}


def spelled(line: str, module: nn.Module) -> list[tuple[str, int, str]]:
    """The members of a line as (tensor, axis, role)."""
    found = []
    for sign, name in ((word[0], word[1:]) for word in line.split()):
        if sign == "+":
            found.append((f"{name}.weight", 0, PRODUCES))
            if module.get_submodule(name).bias is not None:
                found.append((f"{name}.bias", 0, PRODUCES))
        elif sign == "~":
            found += [
                (f"{name}.{tensor}", 0, FOLLOWS)
                for tensor in ("weight", "bias", "running_mean", "running_var")
            ]
        else:
            found.append((f"{name}.weight", 1, CONSUMES))
    return found


def members(group) -> list[tuple[str, int, str]]:
    return [(c.tensor, c.axis, c.role) for c in group.couplings]


class Net(nn.Module):
    """Modules by name, and what to do with them: `act(self, x)`."""

    def __init__(self, act, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.act = act

    def forward(self, x):
        return self.act(self, x)


def after_conv(step, /, **modules) -> Net:
    """A convolution 3 → 4, `step(net, x)`, the mean over space, 5 classes."""
    return Net(
        lambda net, x: net.fc(torch.flatten(F.adaptive_avg_pool2d(step(net, net.conv(x)), 1), 1)),
        conv=nn.Conv2d(3, 4, 3, padding=1),
        **modules,
        fc=nn.Linear(4, 5),
    ).eval()


PLAIN = ["+conv -fc"]


def refusal(module: nn.Module, input_shape=(3, 6, 6)) -> str:
    """The sentence with which `trace` refuses."""
    with pytest.raises(core.Unsupported) as caught:
        core.trace(module, input_shape)
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text
    return text


# The networks of the zoo


@pytest.mark.parametrize("name", EXPECTED)
def test_zoo_groups_have_the_right_members_in_the_right_order(name):
    module = zoo.network(name).build()
    graph = core.trace(module)
    lines, widths = EXPECTED[name]
    assert [members(group) for group in graph.groups] == [spelled(line, module) for line in lines]
    assert [group.width for group in graph.groups] == list(widths)
    assert [group.index for group in graph.groups] == list(range(len(lines)))
    for group in graph.groups:
        for coupling in group.couplings:
            stretch = (coupling.start, coupling.first, coupling.count, coupling.repeat)
            assert stretch == (0, 0, group.width, 1)


def test_networks_that_run_in_other_threads_are_left_alone():
    """The page measures one network while it traces another."""
    running, images = zoo.NETWORKS["resnet18-digits"].build().eval(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = running(images)
    ended, wrong = threading.Event(), []

    def run() -> None:
        while not ended.is_set():
            try:
                with torch.no_grad():
                    assert torch.equal(running(images), expected)
            except Exception as error:
                wrong.append(error)
                return

    threads = [threading.Thread(target=run) for _ in range(2)]
    traced = zoo.NETWORKS["vgg11_bn-digits"].build()
    for thread in threads:
        thread.start()
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: len(core.trace(traced).groups), range(8)))
    ended.set()
    for thread in threads:
        thread.join()
    assert not wrong and found == [8] * 8


@pytest.mark.parametrize("name", ["resnet20-cifar10", "vgg11_bn-digits"])
def test_every_axis_belongs_to_one_group_but_input_channels_and_logits(name):
    """No axis is forgotten and none is claimed twice."""
    module = zoo.network(name).build()
    claimed = [(t, a) for group in core.trace(module).groups for t, a, _ in members(group)]
    first = "conv1.weight" if "resnet" in name else "features.0.weight"
    last = "fc" if "resnet" in name else "classifier"
    free = [(first, 1), (f"{last}.weight", 0), (f"{last}.bias", 0)]
    there = [
        (tensor, axis)
        for tensor, value in module.state_dict().items()
        for axis in range(min(value.ndim, 2))
    ]
    assert sorted(claimed + free) == sorted(there)


def test_batch_norm_is_assigned_to_the_layer_it_normalises():
    graph = core.trace(zoo.network("resnet18-digits").build())
    norms = {name: layer.norm for name, layer in graph.layers.items()}
    assert norms["conv1"] == "bn1" and norms["layer2.0.downsample.0"] == "layer2.0.downsample.1"
    assert norms["layer3.1.conv2"] == "layer3.1.bn2" and norms["fc"] is None
    assert all(layer.epsilon == 1e-5 for layer in graph.layers.values() if layer.norm)
    assert graph.layers["fc"].bias == "fc.bias" and graph.layers["conv1"].bias is None


def test_nodes_tell_what_flows_where():
    graph = core.trace(zoo.network("resnet18-digits").build())
    nodes = {node.name: node for node in graph.nodes}
    assert all(parent in nodes for node in graph.nodes for parent in node.parents)
    by_module = {node.module: node for node in graph.nodes if node.module}
    assert by_module["layer4.1.conv1"].group == 1
    assert by_module["layer4.1.bn2"].group == 0 and by_module["layer4.1.bn2"].kind == "norm"
    assert by_module["conv1"].group == 9 and by_module["conv1"].shape == (16, 32, 32)
    assert by_module["fc"].group is None and by_module["fc"].shape == (10,)
    assert [node.group for node in graph.nodes if node.kind == "input"] == [None]
    assert [node.group for node in graph.nodes if node.kind == "add"] == [9, 9, 6, 6, 3, 3, 0, 0]
    assert sum(node.kind == "conv" for node in graph.nodes) == 20


def test_a_group_names_its_layers():
    graph = core.trace(zoo.network("resnet18-digits").build())
    stream = graph.groups[0]
    assert stream.producers == ("layer4.0.conv2", "layer4.0.downsample.0", "layer4.1.conv2")
    assert stream.consumers == ("layer4.1.conv1", "fc")
    assert "layer4.0.conv2" in stream.title and "128" in stream.title


# Shapes: flatten, and the ways to write it

FLATTENS = {
    "nn.Flatten": lambda net, x: net.flatten(x),
    "nn.Flatten by keyword": lambda net, x: net.flatten(input=x),
    "torch.flatten": lambda net, x: torch.flatten(x, 1),
    "torch.flatten by keyword": lambda net, x: torch.flatten(input=x, start_dim=1),
    "x.flatten": lambda net, x: x.flatten(1),
    "x.flatten(start_dim=1)": lambda net, x: x.flatten(start_dim=1),
    "view(size, -1)": lambda net, x: x.view(x.size(0), -1),
    "view(shape, -1)": lambda net, x: x.view(x.shape[0], -1),
    "reshape": lambda net, x: x.reshape(x.size(0), -1),
    "torch.reshape by keyword": lambda net, x: torch.reshape(x, shape=(x.size(0), -1)),
    "torch.reshape": lambda net, x: torch.reshape(x, (x.size(0), -1)),
    "view(product)": lambda net, x: x.view(-1, x.size(1) * x.size(2) * x.size(3)),
    "view(size + 0, -1)": lambda net, x: x.view(x.size(0) + 0, -1),
}


def flattening(way) -> Net:
    """Four channels of 3×3, flattened, 5 classes."""
    return Net(
        lambda net, x: net.fc(way(net, net.conv(x))),
        conv=nn.Conv2d(2, 4, 3, padding=1),
        flatten=nn.Flatten(),
        fc=nn.Linear(36, 5),
    ).eval()


@pytest.mark.parametrize("way", FLATTENS)
def test_flatten_gives_each_channel_a_block_of_columns(way):
    net = flattening(FLATTENS[way])
    (group,) = core.trace(net, (2, 3, 3)).groups
    assert group.width == 4
    assert group.couplings == (
        Coupling("conv.weight", 0, PRODUCES, 4),
        Coupling("conv.bias", 0, PRODUCES, 4),
        Coupling("fc.weight", 1, CONSUMES, 4, repeat=9, start=0, first=0),
    )


def test_the_block_of_columns_is_the_one_the_channel_feeds():
    """With one channel lit and the others dark, its block of columns alone speaks."""
    net = flattening(FLATTENS["nn.Flatten"])
    (columns,) = core.trace(net, (2, 3, 3)).groups[0].of(CONSUMES)
    with torch.no_grad():
        net.conv.weight.zero_()
        for channel in range(4):
            net.conv.bias.zero_()
            net.conv.bias[channel] = 1.0
            block = slice(
                columns.start + channel * columns.repeat,
                columns.start + (channel + 1) * columns.repeat,
            )
            expected = net.fc.weight[:, block].sum(1) + net.fc.bias
            torch.testing.assert_close(net(torch.randn(1, 2, 3, 3))[0], expected)


@pytest.mark.parametrize(
    "way",
    [
        lambda net, x: x.view(-1, 36),
        lambda net, x: x.view((x.size(0), 36)),
        lambda net, x: x.reshape(-1, 36),
        lambda net, x: torch.reshape(x, (-1, 36)),
        lambda net, x: torch.reshape(x, shape=(-1, 36)),
    ],
    ids=["view", "view of a tuple", "reshape", "torch.reshape", "torch.reshape by keyword"],
)
def test_a_view_with_a_number_for_the_features_is_refused_or_still_runs_when_smaller(way):
    """`view(-1, 36)` holds the old width: a smaller network would fail, or mix up its images."""
    net = flattening(way)
    try:
        graph = core.trace(net, (2, 3, 3))
    except core.Unsupported as error:
        assert "view" in str(error) or "reshape" in str(error)
        return
    smaller = core.compress(net, graph, core.Recipe(rule="select")).module
    assert smaller(torch.randn(4, 2, 3, 3)).shape == (4, 5)


def test_a_linear_layer_added_to_a_flattened_picture_shares_its_blocks():
    net = Net(
        lambda net, x: net.fc(torch.flatten(net.conv(x), 1) + net.side(torch.flatten(x, 1))),
        conv=nn.Conv2d(2, 4, 3, padding=1),
        side=nn.Linear(18, 36),
        fc=nn.Linear(36, 5),
    ).eval()
    (group,) = core.trace(net, (2, 3, 3)).groups
    assert group.width == 4
    repeats = {(c.tensor, c.axis): c.repeat for c in group.couplings}
    assert repeats == {
        ("conv.weight", 0): 1,
        ("conv.bias", 0): 1,
        ("side.weight", 0): 9,
        ("side.bias", 0): 9,
        ("fc.weight", 1): 9,
    }


# Other ways to write the same

CHANNELWISE = {
    "nn.ReLU in place": (lambda net, x: net.step(x), {"step": nn.ReLU(inplace=True)}),
    "nn.Identity": (lambda net, x: net.step(x), {"step": nn.Identity()}),
    "nn.Dropout": (lambda net, x: net.step(x), {"step": nn.Dropout(0.5)}),
    "nn.MaxPool2d": (lambda net, x: net.step(x), {"step": nn.MaxPool2d(2)}),
    "nn.AvgPool2d": (lambda net, x: net.step(x), {"step": nn.AvgPool2d(2)}),
    "F.relu": (lambda net, x: F.relu(x), {}),
    "F.relu in place": (lambda net, x: F.relu(x, inplace=True), {}),
    "torch.relu": (lambda net, x: torch.relu(x), {}),
    "x.relu": (lambda net, x: x.relu(), {}),
    "F.gelu": (lambda net, x: F.gelu(x), {}),
    "F.dropout": (lambda net, x: F.dropout(x, 0.5, training=net.training), {}),
    "F.max_pool2d": (lambda net, x: F.max_pool2d(x, 2), {}),
    "F.avg_pool2d": (lambda net, x: F.avg_pool2d(x, 2), {}),
    "F.adaptive_avg_pool2d": (lambda net, x: F.adaptive_avg_pool2d(x, 2), {}),
    "mean, dimensions kept": (lambda net, x: x.mean((2, 3), keepdim=True), {}),
    "times a number": (lambda net, x: x * 2.0, {}),
    "plus a number": (lambda net, x: x + 1.0, {}),
    "plus itself": (lambda net, x: x + x, {}),
}


@pytest.mark.parametrize("way", CHANNELWISE)
def test_channelwise_operations_leave_the_group_as_it_is(way):
    step, modules = CHANNELWISE[way]
    net = after_conv(step, **modules)
    graph = core.trace(net, (3, 6, 6))
    assert [members(group) for group in graph.groups] == [spelled(line, net) for line in PLAIN]


@pytest.mark.parametrize(
    "mean",
    [lambda x: x.mean((2, 3)), lambda x: torch.mean(x, dim=(2, 3))],
    ids=["method", "function"],
)
def test_a_mean_over_space_ends_in_a_linear_layer(mean):
    net = Net(lambda net, x: net.fc(mean(net.conv(x))), conv=nn.Conv2d(3, 4, 1), fc=nn.Linear(4, 5))
    graph = core.trace(net, (3, 6, 6))
    assert [members(group) for group in graph.groups] == [spelled(line, net) for line in PLAIN]


ADDITIONS = {
    "a + b": lambda a, b: a + b,
    "torch.add": lambda a, b: torch.add(a, b),
    "a.add": lambda a, b: a.add(b),
    "a.add_": lambda a, b: a.add_(b),
    "sum": lambda a, b: sum([a, b]),
}


@pytest.mark.parametrize("way", ADDITIONS)
def test_additions_tie_what_they_add(way):
    net = after_conv(
        lambda net, x: ADDITIONS[way](net.side(x), x), side=nn.Conv2d(4, 4, 3, padding=1)
    )
    graph = core.trace(net, (3, 6, 6))
    (group,) = graph.groups
    # `side` reads the stream and writes to it: both axes of its weight belong to one group.
    assert sorted(members(group)) == sorted(spelled("+conv -side +side -fc", net))


def test_an_addition_in_place_ties_what_it_adds():
    def step(net, x):
        out = net.side(x)
        out += x
        return out

    net = after_conv(step, side=nn.Conv2d(4, 4, 3, padding=1))
    (group,) = core.trace(net, (3, 6, 6)).groups
    assert sorted(members(group)) == sorted(spelled("+conv -side +side -fc", net))


def test_a_convolution_called_twice_is_tied_to_itself():
    net = after_conv(
        lambda net, x: net.shared(F.relu(net.shared(x))), shared=nn.Conv2d(4, 4, 3, padding=1)
    )
    (group,) = core.trace(net, (3, 6, 6)).groups
    assert sorted(members(group)) == sorted(spelled("+conv -shared +shared -fc", net))


def test_a_linear_network_with_batch_norm():
    net = nn.Sequential(
        nn.Linear(7, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)
    ).eval()
    graph = core.trace(net, (7,))
    assert [members(group) for group in graph.groups] == [
        spelled("+3 -5", net),
        spelled("+0 ~1 -3", net),
    ]
    assert graph.layers["0"].norm == "1" and graph.layers["3"].norm is None


def test_channels_that_reach_the_output_or_the_input_are_in_no_group():
    """A layer whose channels also leave the network, or are added to the image, must not shrink."""
    net = Net(
        lambda net, x: (net.fc(net.head(x + net.inner(x)).mean((2, 3))), net.head(x)),
        inner=nn.Conv2d(3, 3, 1),
        head=nn.Conv2d(3, 4, 1),
        fc=nn.Linear(4, 5),
    )
    assert core.trace(net, (3, 6, 6)).groups == ()


def test_channels_that_are_normalised_over_stay():
    """A softmax over channels, at the end or before it, holds all of them."""
    net = after_conv(lambda net, x: net.head(torch.softmax(x, 1)), head=nn.Conv2d(4, 4, 1))
    graph = core.trace(net, (3, 6, 6))
    assert [members(group) for group in graph.groups] == [spelled("+head -fc", net)]


# Parts of a group


def stretches(group) -> dict[tuple[str, int], list[tuple[int, int, int]]]:
    """(tensor, axis) → its stretches: start, first channel, count."""
    found: dict = {}
    for c in group.couplings:
        found.setdefault((c.tensor, c.axis), []).append((c.start, c.first, c.count))
    return found


def test_a_concatenation_gives_each_group_its_stretch():
    net = after_conv(
        lambda net, x: net.last(torch.cat([net.one(x), x], 1)),
        one=nn.Conv2d(4, 6, 1), last=nn.Conv2d(10, 4, 1),
    )  # fmt: skip
    last, one, stem = core.trace(net, (3, 6, 6)).groups
    assert one.producers == ("one",) and stem.producers == ("conv",) and last.width == 4
    assert stretches(one)["last.weight", 1] == [(0, 0, 6)]
    assert stretches(stem)["last.weight", 1] == [(6, 0, 4)]
    assert stretches(stem)["one.weight", 1] == [(0, 0, 4)]


def test_the_same_channels_twice_are_two_stretches():
    net = after_conv(
        lambda net, x: net.last(torch.cat([x, x], 1)), last=nn.Conv2d(8, 4, 1)
    )  # fmt: skip
    assert stretches(core.trace(net, (3, 6, 6)).groups[1])["last.weight", 1] == [
        (0, 0, 4), (4, 0, 4)
    ]  # fmt: skip


def test_a_grouped_convolution_reads_its_channels_side_by_side():
    net = after_conv(lambda net, x: net.mixer(x), mixer=nn.Conv2d(4, 4, 3, groups=2))
    out, stem = core.trace(net, (3, 6, 6)).groups
    assert out.blocks == ((0, 1), (2, 3)) and stem.blocks == ((0, 1), (2, 3))
    assert stem.of(CONSUMES) == (Coupling("mixer.weight", 1, CONSUMES, 4, parts=2),)


def test_scales_are_marked_as_such():
    net = after_conv(lambda net, x: net.norm(F.relu(x)) * net.gain, norm=nn.BatchNorm2d(4))
    net.gain = nn.Parameter(torch.ones(1, 4, 1, 1))
    (group,) = core.trace(net, (3, 6, 6)).groups
    scales = {c.tensor for c in group.couplings if c.scales}
    assert scales == {"norm.weight", "norm.running_var", "gain"}


# What isn't known is refused by name


def test_a_branch_on_values_is_refused():
    net = after_conv(lambda net, x: x if x.sum() > 0 else -x)
    assert "Net" in refusal(net)


@pytest.mark.parametrize("shape", [(1, 6, 6), (3, 6), (4,)])
def test_a_wrong_input_shape_is_named(shape):
    assert str(shape) in refusal(after_conv(lambda net, x: x), shape)


def test_a_batch_norm_without_statistics_is_refused_by_name():
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    text = refusal(after_conv(lambda net, x: net.norm(x), norm=norm))
    assert "'norm'" in text and "batch norm" in text


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (lambda x: x.permute(0, 2, 3, 1), "head"),
        (lambda x: torch.cumsum(x, 1), "cumsum"),
        (lambda x: x.sort(1)[0], "sort"),
        (lambda x: x.mean(1, keepdim=True), "mean"),
        (lambda x: x[:, :2], "getitem"),
        (lambda x: x.view(x.size(0), 2, 2, 6, 6).view(x.size(0), 4, 6, 6), "view"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unknown_operation_is_refused_by_name(step, name):
    channels = step(torch.zeros(1, 4, 6, 6)).shape[1]
    net = after_conv(lambda net, x: net.head(step(x)), head=nn.Conv2d(channels, 4, 1))
    assert name in refusal(net)


def test_a_layer_whose_weight_is_computed_is_refused_by_name():
    """Weight normalisation stores other tensors than the weight: there is no weight to shrink."""
    layer = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1))
    assert "'mixer'" in refusal(after_conv(lambda net, x: net.mixer(x), mixer=layer))


# Tracing is looking, not touching


@pytest.mark.parametrize("training", [True, False])
def test_tracing_leaves_the_module_and_the_random_numbers_alone(training):
    module = zoo.network("resnet18-digits").build().train(training)
    module.layer2.eval()  # modes may be mixed
    before = copy.deepcopy(module.state_dict())
    modes = [part.training for part in module.modules()]
    random = torch.random.get_rng_state()
    core.trace(module)
    after = module.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert [part.training for part in module.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), random)
    for part in module.modules():
        hooks = (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks)
        assert not any(hooks)


def test_tracing_twice_finds_the_same():
    module = zoo.network("vgg11_bn-digits").build()
    assert core.trace(module) == core.trace(module)
