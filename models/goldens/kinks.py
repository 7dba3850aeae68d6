"""Why gradients in float32 now and then miss those in float64 by a few thousandths.

A MobileNetV2-like network with ReLU6 and NT-Xent, differentiated in float64, in float32, and in float64 with the
masks that float32 found. Prints how many masks differ, how far from a kink those values are, and the largest and
median error over the weights, each relative to the weight's largest gradient. Run: python kinks.py (torch).
"""
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F


class Relu6(torch.autograd.Function):
    @staticmethod
    def forward(context, x, mask):
        context.save_for_backward(mask)
        return x.clamp(0, 6)

    @staticmethod
    def backward(context, g):
        return g * context.saved_tensors[0], None


class Clip:
    """Records what it clips, and lets gradients through by given masks where there are any."""

    def __init__(s, masks=None):
        s.masks, s.met = masks, []

    def __call__(s, x):
        mask = (x > 0) & (x < 6) if s.masks is None else s.masks[len(s.met)]
        s.met.append(x.detach())
        return Relu6.apply(x, mask.to(x.dtype))


class Block(nn.Module):
    def __init__(s, i, o, stride):
        super().__init__()
        h, s.skip = 4 * i, stride == 1 and i == o
        s.expand, s.project = nn.Conv2d(i, h, 1), nn.Conv2d(h, o, 1)
        s.filter = nn.Conv2d(h, h, 3, stride, 1, groups=h)

    def forward(s, x, clip):
        y = s.project(clip(s.filter(clip(s.expand(x)))))
        return x + y if s.skip else y


class Net(nn.Module):
    def __init__(s):
        super().__init__()
        s.stem = nn.Conv2d(3, 16, 3, 2, 1)
        shapes = [(16, 24, 2), (24, 24, 1), (24, 40, 2), (40, 40, 1), (40, 64, 2), (64, 64, 1)]
        s.blocks = nn.ModuleList([Block(*shape) for shape in shapes])
        s.last, s.head = nn.Conv2d(64, 128, 1), nn.Linear(128, 64)

    def forward(s, x, clip):
        x = clip(s.stem(x))
        for block in s.blocks:
            x = block(x, clip)
        return s.head(clip(s.last(x)).mean((2, 3)))


def nt_xent(z):
    z, n = F.normalize(z, dim=1), len(z)
    return F.cross_entropy((z @ z.t() / 0.2).fill_diagonal_(-1e9), torch.arange(n).roll(n // 2))


def gradients(net, x, dtype, masks=None):
    clip = Clip(masks)
    net.to(dtype).zero_grad()
    nt_xent(net(x.to(dtype), clip)).backward()
    return [p.grad.double().clone() for p in net.parameters()], clip.met


def error(found, expected):
    each = [((f - e).abs().max() / e.abs().max()).item() for f, e in zip(found, expected)]
    return f"{max(each):.1e} ({np.median(each):.1e})"


torch.set_num_threads(1)
for size, batch, seed in [(64, 64, 1), (64, 64, 2), (96, 16, 1), (96, 64, 1), (96, 64, 2)]:
    torch.manual_seed(0)
    net = Net()
    for p in net.parameters():
        fan = p[0].numel() if p.dim() > 1 else 0
        p.data = torch.randn_like(p) * ((2 / fan) ** 0.5 if fan else 0.05)
    torch.manual_seed(seed)
    x = torch.randn(batch, 3, size, size)
    double, values = gradients(net, x, torch.float64)
    single, rounded = gradients(net, x, torch.float32)
    inside = lambda v: (v > 0) & (v < 6)
    masks = [inside(v) for v in rounded]
    flipped = [v[inside(v) != m] for v, m in zip(values, masks)]
    flipped = torch.cat([torch.minimum(v.abs(), (v - 6).abs()) for v in flipped])
    masked, _ = gradients(net, x, torch.float64, masks)
    print(f"{size}x{size}, batch {batch}, seed {seed}: {len(flipped)} of {sum(v.numel() for v in values)} masks differ, at most",
          f"{max(flipped.tolist(), default=0):.0e} from a kink; largest (median) error of float32 {error(single, double)}, of float64",
          f"with those masks {error(masked, double)}; float32 against the latter {error(single, masked)}")
