import torch

from fourierkd.spectral.sphere import riemann_sphere


def test_points_lie_on_the_sphere_and_project_back():
    torch.manual_seed(0)
    real, imag = torch.randn(2, 100, dtype=torch.float64) * 3
    x, y, z = riemann_sphere(real, imag, radius=1.7)
    torch.testing.assert_close(x**2 + y**2 + z**2, torch.ones_like(x))
    # stereographic projection from the north pole
    torch.testing.assert_close(1.7 * x / (1 - z), real)
    torch.testing.assert_close(1.7 * y / (1 - z), imag)


def test_radius_is_the_equator_and_divides_the_amplitude():
    x, y, z = riemann_sphere(torch.tensor([0.0, 0.0]), torch.tensor([2.0, 0.0]), radius=2.0)
    assert x.tolist() == [0, 0]
    assert y.tolist() == [1, 0]
    assert z.tolist() == [0, -1]  # zero is the south pole
    real, imag = torch.randn(2, 10)
    for ours, scaled in zip(
        riemann_sphere(real, imag, radius=4.0), riemann_sphere(real / 4, imag / 4), strict=True
    ):
        torch.testing.assert_close(ours, scaled)


def test_gradcheck():
    parts = [torch.randn(6, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda a, b: riemann_sphere(a, b, radius=0.5), parts)
