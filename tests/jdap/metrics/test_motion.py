import numpy as np
import pytest
import torch

from jdap.metrics.motion import border_jumps, changes, flicker, jitter, static_pairs


def video(frames=6, size=16, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (frames, 3, size, size)))


def test_only_what_changes_and_its_neighbourhood_moves():
    rgb = torch.zeros(3, 3, 16, 16)
    rgb[1, 2, 8, 8] = 0.05  # one channel of one pixel, for one frame
    rgb[2, :, 0, 0] = 0.03
    static = static_pairs(rgb)
    moving = torch.zeros(16, 16, dtype=torch.bool)
    moving[7:10, 7:10] = True
    assert static.shape == (2, 1, 16, 16)
    assert torch.equal(~static[0, 0], moving)
    assert torch.equal(~static[1, 0], moving)
    assert static_pairs(rgb, threshold=0.06).all()
    # The neighbourhood grows with the picture.
    large = torch.zeros(2, 3, 256, 256)
    large[1, 0, 100, 100] = 1
    assert int((~static_pairs(large)).sum()) == 49


def test_flicker_and_jitter_are_means_over_static_pixels():
    depth = video()[:, :1]
    mask = torch.from_numpy(np.random.default_rng(1).uniform(size=(5, 1, 16, 16)) < 0.3)
    d, m = depth.numpy(), mask.numpy()
    assert flicker(depth, mask).item() == pytest.approx(np.abs(np.diff(d, axis=0))[m].mean())
    second = np.abs(d[2:] - 2 * d[1:-1] + d[:-2])
    assert jitter(depth, mask).item() == pytest.approx(second[m[1:] & m[:-1]].mean())
    elsewhere = depth.clone()
    elsewhere[2, ~(mask[1] | mask[2])] = torch.nan
    assert flicker(elsewhere, mask).item() == flicker(depth, mask).item()


def test_a_drift_has_no_jitter_and_an_alternation_twice_its_flicker():
    frames = torch.arange(8.0)[:, None, None, None].expand(8, 1, 4, 4)
    everywhere = torch.ones(7, 1, 4, 4, dtype=torch.bool)
    assert flicker(0.1 * frames, everywhere).item() == pytest.approx(0.1)
    assert jitter(0.1 * frames, everywhere).item() == pytest.approx(0, abs=1e-6)
    assert flicker(frames % 2, everywhere).item() == pytest.approx(1)
    assert jitter(frames % 2, everywhere).item() == pytest.approx(2)


def test_jumps_are_medians_of_borders_over_medians_inside():
    steps = torch.tensor([1.0, 2, 9, 1, 3, 2, 50, 2, 1])
    # A window begins with frame 3 and with frame 7: the changes into them are 9 and 50.
    found = border_jumps(steps, [0, 3, 7])
    assert found == {"ratio": pytest.approx(29.5 / 2), "above_usual": 1, "borders": 2}
    # A nod inside a window does not hide them, nor does one at a border make them.
    inside = steps.clone()
    inside[0] = 1000
    assert border_jumps(inside, [3, 7])["ratio"] == pytest.approx(29.5 / 2)
    level = torch.ones(9)
    level[2] = 100
    assert border_jumps(level, [3, 5, 7])["ratio"] == 1
    assert border_jumps(level, [3, 5, 7])["above_usual"] == pytest.approx(1 / 3)


def test_without_a_border_there_is_no_ratio():
    assert np.isnan(border_jumps(torch.ones(5), [0])["ratio"])
    assert np.isnan(border_jumps(torch.zeros(5), [2])["ratio"])
    with pytest.raises(ValueError, match=r"9 … 9, .* 6"):
        border_jumps(torch.ones(5), [9])


def test_changes_are_over_the_picture():
    v = video()
    assert changes(v).tolist() == pytest.approx(np.abs(np.diff(v.numpy(), axis=0)).mean((1, 2, 3)).tolist())
