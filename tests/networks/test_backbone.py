"""Maps at several scales, under a feature pyramid and in torchvision's Faster R-CNN."""

from __future__ import annotations

import pytest
import torch

from xnas_ray.errors import SpecError
from xnas_ray.networks.backbone import MultiScaleBackbone, feature_pyramid, last_blocks
from xnas_ray.networks.inverted_residual import InvertedResidualNetwork
from xnas_ray.spaces.fbnet_published import PUBLISHED
from xnas_ray.spaces.inverted_residuals import Block, Definition, Head, Stem

TINY = Definition(
    32,
    Stem(8),
    (
        Block(8),
        Block(16, stride=2, expansion=2.0, kernel=5),
        Block(16),
        Block(24, stride=2, expansion=2.0, squeeze=0.25),
        Block(32, stride=2, expansion=2.0),
        Block(40, expansion=2.0),
        Block(48, stride=2, expansion=2.0),
    ),
    Head(64, expansion=2.0),
)


def test_the_last_block_of_every_stride():
    assert last_blocks(TINY) == {2: 0, 4: 2, 8: 3, 16: 5, 32: 6}
    published = PUBLISHED["fbnetv3_a"].definition
    widths = {stride: published.blocks[i].width for stride, i in last_blocks(published).items()}
    assert widths == {2: 16, 4: 24, 8: 40, 16: 120, 32: 224}


def test_maps_are_those_inside_the_network():
    torch.manual_seed(0)
    network = InvertedResidualNetwork(TINY, 3, 5).eval()
    body = MultiScaleBackbone(network, TINY)
    images = torch.randn(2, 3, 32, 32)
    maps = body(images)
    assert list(maps) == ["0", "1", "2", "3"]
    assert body.out_channels == [16, 24, 40, 48]
    assert [tuple(one.shape) for one in maps.values()] == [(2, 16, 8, 8), (2, 24, 4, 4), (2, 40, 2, 2), (2, 48, 1, 1)]
    assert torch.equal(network.classifier(network.head(maps["3"])), network(images))


def test_images_of_any_size_are_taken_as_they_are():
    body = MultiScaleBackbone(InvertedResidualNetwork(TINY, 1, 5).eval(), TINY, [8, 32])
    maps = body(torch.randn(1, 1, 100, 67))
    assert [tuple(one.shape[1:]) for one in maps.values()] == [(24, 13, 9), (48, 4, 3)]


def test_blocks_beyond_the_coarsest_map_are_left_out():
    body = MultiScaleBackbone(InvertedResidualNetwork(TINY, 3, 5), TINY, [4, 8])
    assert len(body.blocks) == 4


@pytest.mark.parametrize("strides", [[4, 64], [8, 4], [], [4, 4]])
def test_strides_that_there_are_not_are_refused(strides: list[int]):
    with pytest.raises(SpecError, match="Valid: 2, 4, 8, 16, 32"):
        MultiScaleBackbone(InvertedResidualNetwork(TINY, 3, 5), TINY, strides)


def test_trained_weights_are_taken_over():
    network = InvertedResidualNetwork(TINY, 3, 5)
    pyramid = feature_pyramid(TINY, network=network, width=16)
    assert pyramid.body.stem is network.stem
    assert pyramid.out_channels == 16
    pyramid.eval()
    maps = pyramid(torch.randn(1, 3, 64, 64))
    assert [(name, one.shape[1], one.shape[2]) for name, one in maps.items()] == [
        ("0", 16, 16),
        ("1", 16, 8),
        ("2", 16, 4),
        ("3", 16, 2),
        ("pool", 16, 1),
    ]


def test_faster_rcnn_trains_on_it():
    from torchvision.models.detection import FasterRCNN

    torch.manual_seed(0)
    detector = FasterRCNN(feature_pyramid(TINY, width=16), num_classes=3, min_size=64, max_size=64)
    images = [torch.rand(3, 64, 64), torch.rand(3, 48, 64)]
    targets = [
        {"boxes": torch.tensor([[4.0, 4.0, 40.0, 40.0]]), "labels": torch.tensor([1])},
        {"boxes": torch.tensor([[10.0, 8.0, 60.0, 40.0], [0.0, 0.0, 20.0, 20.0]]), "labels": torch.tensor([2, 1])},
    ]
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.01)
    losses = detector(images, targets)
    assert set(losses) == {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
    loss = sum(losses.values())
    assert torch.isfinite(loss)
    loss.backward()
    body = detector.backbone.body
    moved = [body.stem.conv.weight, body.blocks[0].depthwise.conv.weight, body.blocks[-1].project.conv.weight]
    before = [weight.detach().clone() for weight in moved]
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in moved)
    optimizer.step()
    assert all(not torch.equal(old, new) for old, new in zip(before, moved, strict=True))
    with torch.no_grad():
        found = detector.eval()(images)
    assert [set(one) for one in found] == [{"boxes", "labels", "scores"}] * 2
    assert all(one["boxes"].shape[1] == 4 for one in found)
