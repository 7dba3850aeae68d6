"""The networks that training steps are timed on, written in PyTorch.

They come to Sedge the way a stranger's encoder does, as an ONNX file that PyTorch exported, so that
every framework runs the same network. `cnn`, `imu` and `vit` are encoders of an edge board, batch norm
folded; `resnet`, `mobilenet` and `vit32` are trained from scratch with batch statistics.
"""

import torch
import torch.nn.functional as F
from torch import nn


class InvertedResidual(nn.Module):
    def __init__(self, channels, out, stride, expand, norm):
        super().__init__()
        hidden = channels * expand
        self.skip = stride == 1 and channels == out
        self.expand = convolution(channels, hidden, 1, norm=norm)
        self.depthwise = convolution(hidden, hidden, 3, stride, groups=hidden, norm=norm)
        self.project = convolution(hidden, out, 1, norm=norm)

    def forward(self, x):
        y = self.project(F.relu6(self.depthwise(F.relu6(self.expand(x)))))
        return x + y if self.skip else y


def convolution(channels, out, kernel, stride=1, groups=1, norm=True):
    layer = nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=not norm)
    return nn.Sequential(layer, nn.BatchNorm2d(out)) if norm else layer


class MobileNet(nn.Module):
    """Stem, six inverted residuals, a pointwise layer and the mean: a small MobileNetV2."""

    def __init__(self, stem_stride, norm, widths=(16, 24, 40, 64, 128), expand=4):
        super().__init__()
        a, b, c, d, last = widths
        self.stem = convolution(3, a, 3, stem_stride, norm=norm)
        sizes = [(a, b, 2), (b, b, 1), (b, c, 2), (c, c, 1), (c, d, 2), (d, d, 1)]
        self.blocks = nn.ModuleList([InvertedResidual(*size, expand, norm) for size in sizes])
        self.last = convolution(d, last, 1, norm=norm)
        self.width = last

    def forward(self, x):
        x = F.relu6(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return F.relu6(self.last(x)).mean((2, 3))


class Residual(nn.Module):
    def __init__(self, channels, out, stride):
        super().__init__()
        self.first = convolution(channels, out, 3, stride)
        self.second = convolution(out, out, 3)
        self.skip = nn.Identity() if stride == 1 and channels == out else convolution(channels, out, 1, stride)

    def forward(self, x):
        return F.relu(self.skip(x) + self.second(F.relu(self.first(x))))


class ResNet(nn.Module):
    """ResNet-18's layout for small images: a 3x3 stem and no pooling."""

    def __init__(self, width=16):
        super().__init__()
        self.stem = convolution(3, width, 3)
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        blocks = []
        for stage, (channels, out) in enumerate(zip(widths, widths[1:])):
            blocks += [Residual(channels, out, 1 if stage == 0 else 2), Residual(out, out, 1)]
        self.blocks = nn.ModuleList(blocks)
        self.width = widths[-1]

    def forward(self, x):
        x = F.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return x.mean((2, 3))


class Imu(nn.Module):
    """Four one-dimensional convolutions over a window of six channels."""

    def __init__(self):
        super().__init__()
        widths = [6, 32, 64, 64, 128]
        self.blocks = nn.ModuleList(
            [nn.Conv1d(a, b, 5, 1 if i == 0 else 2, 2) for i, (a, b) in enumerate(zip(widths, widths[1:]))]
        )
        self.width = widths[-1]

    def forward(self, x):
        for block in self.blocks:
            x = F.relu(block(x))
        return x.mean(2)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        split = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax(q @ k.transpose(-2, -1) * (width // self.heads) ** -0.5, -1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(batch, tokens, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Vit(nn.Module):
    """A small vision transformer with a class token."""

    def __init__(self, size, patch, width, depth, heads):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.position = nn.Parameter(torch.randn(1, (size // patch) ** 2 + 1, width) * 0.02)
        self.blocks = nn.ModuleList([Attention(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.width = width

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 0]


# Name: (encoder, shape of one sample, images a step).
NETS = {
    "cnn64": (lambda: MobileNet(2, norm=False), (3, 64, 64), 64),
    "cnn96": (lambda: MobileNet(2, norm=False), (3, 96, 96), 64),
    "imu": (Imu, (6, 128), 64),
    "vit64": (lambda: Vit(64, 8, 96, 3, 3), (3, 64, 64), 64),
    "resnet": (ResNet, (3, 32, 32), 128),
    "mobilenet": (lambda: MobileNet(1, norm=True), (3, 32, 32), 128),
    "vit32": (lambda: Vit(32, 4, 128, 4, 4), (3, 32, 32), 128),
}

TEMPERATURE = 0.2
HEAD = (128, 64)


class Step(nn.Module):
    """Encoder, projection head and NT-Xent (Chen et al. 2020); rows i and i + n/2 are a pair."""

    def __init__(self, name):
        super().__init__()
        torch.manual_seed(0)
        make, self.sample, self.batch = NETS[name]
        self.encoder = make()
        hidden, out = HEAD
        self.head = nn.Sequential(nn.Linear(self.encoder.width, hidden), nn.ReLU(), nn.Linear(hidden, out))
        rows = self.batch
        self.register_buffer("itself", 1e9 * torch.eye(rows), persistent=False)
        partner = torch.cat([torch.arange(rows // 2, rows), torch.arange(rows // 2)])
        self.register_buffer("partner", partner, persistent=False)

    def forward(self, views):
        z = F.normalize(self.head(self.encoder(views)), dim=1)
        return F.cross_entropy(z @ z.t() / TEMPERATURE - self.itself, self.partner)

    def select(self, part):
        """Names of the parameters trained: `head`, `last:2` blocks with what follows, or `all`."""
        names = [name for name, _ in self.named_parameters()]
        if part == "all":
            return names
        if part == "head":
            return [name for name in names if name.startswith("head.")]
        blocks = len(self.encoder.blocks)
        last = tuple(f"encoder.blocks.{i}." for i in range(blocks - 2, blocks))
        return [n for n in names if n.startswith(("head.", "encoder.last", "encoder.norm.") + last)]

    def views(self):
        generator = torch.Generator().manual_seed(1)
        return torch.randn(self.batch, *self.sample, generator=generator)
