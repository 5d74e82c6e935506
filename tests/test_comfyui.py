"""The nodes of ``examples/comfyui`` as ComfyUI uses them: found in a folder, filled with their defaults, called."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from networks import small_pipeline
from PIL import Image
from torch import Tensor

FOLDER = Path(__file__).parents[1] / "examples" / "comfyui"
#: ComfyUI's own types, and ours.
KINDS = {"IMAGE", "MASK", "INT", "FLOAT", "STRING", "JDAP_PIPELINE"}


@pytest.fixture(scope="module")
def pack() -> Iterator[ModuleType]:
    """The folder, imported as ComfyUI imports what lies in ``custom_nodes``: by its path, whatever its name."""
    name = "custom_nodes_jdap"
    spec = importlib.util.spec_from_file_location(
        name, FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    yield module
    for part in [part for part in sys.modules if part.split(".")[0] == name]:
        del sys.modules[part]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("comfyui") / "weights"
    small_pipeline(32, 32).save_pretrained(folder)
    return str(folder)


def call(pack: ModuleType, name: str, **given: Any) -> tuple[Any, ...]:
    """What a node gives; inputs that are not given have their defaults."""
    node = pack.NODE_CLASS_MAPPINGS[name]
    inputs = node.INPUT_TYPES()
    known = {**inputs["required"], **inputs.get("optional", {})}
    assert set(given) <= set(known)
    # A list of choices begins with its default.
    values = {key: kind[0] for key, (kind, *_) in known.items() if isinstance(kind, list)}
    values |= {key: options[0]["default"] for key, (_, *options) in known.items() if options} | given
    assert set(inputs["required"]) <= set(values)
    found: tuple[Any, ...] = getattr(node(), node.FUNCTION)(**values)
    assert len(found) == len(node.RETURN_TYPES)
    for value, kind in zip(found, node.RETURN_TYPES, strict=True):
        if kind in ("IMAGE", "MASK"):
            assert (value.ndim, value.dtype) == ({"IMAGE": 4, "MASK": 3}[kind], torch.float32)
            assert 0 <= value.min() <= value.max() <= 1
    return found


def heads(count: int = 2, side: int = 48) -> Tensor:
    """IMAGE: smooth colours of skin."""
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.4
    large = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    return (large * torch.tensor([1.0, 0.8, 0.7])[:, None, None]).permute(0, 2, 3, 1)


@pytest.fixture(scope="module")
def pipeline(pack: ModuleType, weights: str) -> Any:
    return call(pack, "JdapLoad", weights=weights, device="cpu")[0]


def test_every_node_says_what_comfyui_asks(pack: ModuleType) -> None:
    assert set(pack.NODE_CLASS_MAPPINGS) == set(pack.NODE_DISPLAY_NAME_MAPPINGS)
    for node in pack.NODE_CLASS_MAPPINGS.values():
        inputs = node.INPUT_TYPES()
        for kind, *_ in [*inputs["required"].values(), *inputs.get("optional", {}).values()]:
            assert isinstance(kind, list) or kind in KINDS
        assert set(node.RETURN_TYPES) <= KINDS
        assert len(node.RETURN_NAMES) == len(node.RETURN_TYPES)
        assert callable(getattr(node, node.FUNCTION))
        assert node.CATEGORY == "JDAP"


def test_weights_are_read_once(pack: ModuleType, pipeline: Any, weights: str) -> None:
    assert call(pack, "JdapLoad", weights=weights, device="cpu")[0] is pipeline


def test_depth_is_that_of_the_pipeline(pack: ModuleType, pipeline: Any) -> None:
    depth, person = call(pack, "JdapDepth", pipeline=pipeline, image=heads(), seed=4)
    assert depth.shape == (2, 48, 48, 3)
    assert person.shape == (2, 48, 48)
    small = pipeline.image_to_depth(list(heads().numpy()), generator=[torch.Generator().manual_seed(s) for s in (4, 5)])
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(small.depth).permute(0, 3, 1, 2), (48, 48), mode="bicubic"
    )
    torch.testing.assert_close(1 - depth[..., :1].permute(0, 3, 1, 2), expected.clamp(0, 1), atol=0.02, rtol=0)


def test_a_lamp_lights_its_side_and_a_mask_keeps_the_rest(pack: ModuleType, pipeline: Any) -> None:
    v, u = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 48), indexing="ij")
    round_head = (1 - 0.8 * (u.square() + v.square())).clamp(0, 1)[None, ..., None].expand(1, 48, 48, 3)
    image = heads(1)
    sides = []
    for azimuth in (-60.0, 60.0):
        (made,) = call(pack, "JdapRelight", pipeline=pipeline, image=image, depth=round_head, azimuth=azimuth)
        sides.append(float(made[0, 12:36, 8:20].mean() - made[0, 12:36, 28:40].mean()))
    assert sides[0] > sides[1] + 0.05
    mask = torch.zeros(1, 48, 48)
    mask[:, :, :24] = 1
    (half,) = call(pack, "JdapRelight", pipeline=pipeline, image=image, depth=round_head, azimuth=60.0, mask=mask)
    torch.testing.assert_close(half[:, :, 24:], image[:, :, 24:])
    torch.testing.assert_close(half[:, :, :24], made[:, :, :24])


def test_portraits_of_anything_and_of_a_depth(pack: ModuleType, pipeline: Any) -> None:
    rgb, depth = call(pack, "JdapPortrait", pipeline=pipeline, reference=heads(), steps=2)
    assert rgb.shape == depth.shape == (2, 32, 32, 3)
    again, _ = call(pack, "JdapPortrait", pipeline=pipeline, reference=heads(), steps=2)
    torch.testing.assert_close(rgb, again)
    posed, kept = call(pack, "JdapPortrait", pipeline=pipeline, reference=heads(), steps=2, depth=depth)
    torch.testing.assert_close(kept, depth, atol=1e-5, rtol=0)
    assert not torch.equal(posed, rgb)


def test_a_single_depth_or_person_is_that_of_all_pictures(pack: ModuleType, pipeline: Any) -> None:
    depth = torch.linspace(0, 1, 48)[:, None, None].expand(1, 48, 48, 3)
    (both,) = call(pack, "JdapRelight", pipeline=pipeline, image=heads(), depth=depth)
    (alone,) = call(pack, "JdapRelight", pipeline=pipeline, image=heads()[1:], depth=depth)
    torch.testing.assert_close(both[1:], alone, atol=1e-4, rtol=0)
    posed, _ = call(
        pack, "JdapPortrait", pipeline=pipeline, reference=heads(1), steps=2, depth=depth.repeat(2, 1, 1, 1)
    )
    again, _ = call(pack, "JdapPortrait", pipeline=pipeline, reference=heads(1), steps=2, depth=depth)
    assert posed.shape[0] == 2
    torch.testing.assert_close(posed[:1], again, atol=1e-4, rtol=0)


def test_a_mask_of_another_size_is_refused(pack: ModuleType, pipeline: Any) -> None:
    with pytest.raises(ValueError, match="64 x 32 pixels, the picture 48 x 48"):
        call(pack, "JdapRelight", pipeline=pipeline, image=heads(1), mask=torch.zeros(1, 32, 64))


def test_a_picture_without_a_face_is_numbered(pack: ModuleType, assets: Path) -> None:
    with pytest.raises(ValueError, match="picture 1: no face is found; cut the head out"):
        call(pack, "JdapHead", image=torch.zeros(1, 64, 64, 3), size=64)


def test_what_is_no_square_is_refused(pack: ModuleType, pipeline: Any) -> None:
    with pytest.raises(ValueError, match="48 x 40 pixels are no square"):
        call(pack, "JdapDepth", pipeline=pipeline, image=heads()[:, :40])


def test_a_head_is_cut_out(pack: ModuleType, assets: Path) -> None:
    photo = np.asarray(Image.open(assets / "portraits" / "astronaut.png").convert("RGB"))
    (head,) = call(pack, "JdapHead", image=torch.from_numpy(photo.copy())[None].float() / 255, size=128)
    assert head.shape == (1, 128, 128, 3)
