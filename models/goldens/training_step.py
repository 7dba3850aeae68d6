"""Goldens of whole training steps from PyTorch in float64.

Builds every architecture small, in training form, and runs NT-Xent and cross entropy under SGD and
AdamW for three steps. Writes inputs, initial state, losses and the state after each step, so that the
graphs compiled here can be held against it.
Run: python training_step.py (torch, safetensors).
"""
import math, os
import torch, torch.nn as nn, torch.nn.functional as F
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
torch.set_default_dtype(torch.float64)
# Shifts before a batch norm have gradient zero; with the usual 1e-8 Adam would blow their rounding
# noise up to a full step, and no two programs would agree.
EPS = 1e-3


class Unit(nn.Module):
    def __init__(s, conv, bn, act):
        super().__init__()
        s.conv, s.bn, s.act = conv, bn, act

    def forward(s, x):
        x = s.bn(s.conv(x))
        return {"none": lambda v: v, "relu": F.relu, "relu6": F.relu6}[s.act](x)


def unit2(i, o, k, stride, groups, act):
    return Unit(nn.Conv2d(i, o, k, stride, k // 2, groups=groups, bias=False), nn.BatchNorm2d(o), act)


class Block(nn.Module):
    def __init__(s, i, o, stride, expand):
        super().__init__()
        h = i * expand
        s.expand = unit2(i, h, 1, 1, 1, "relu6")
        s.filter = unit2(h, h, 3, stride, h, "relu6")
        s.project = unit2(h, o, 1, 1, 1, "none")
        s.skip = stride == 1 and i == o

    def forward(s, x):
        y = s.project(s.filter(s.expand(x)))
        return x + y if s.skip else y


class Image(nn.Module):
    def __init__(s):
        super().__init__()
        s.stem = unit2(3, 4, 3, 2, 1, "relu6")
        s.blocks = nn.ModuleList([Block(4, 6, 2, 2), Block(6, 6, 1, 2)])
        s.last = unit2(6, 8, 1, 1, 1, "relu6")

    def forward(s, x):
        x = s.stem(x)
        for b in s.blocks:
            x = b(x)
        return s.last(x).mean((2, 3))


class Imu(nn.Module):
    def __init__(s):
        super().__init__()
        ch, st = [6, 5, 8], [1, 2]
        s.layers = nn.ModuleList(
            [Unit(nn.Conv1d(ch[i], ch[i + 1], 5, st[i], 2, bias=False), nn.BatchNorm1d(ch[i + 1]), "relu") for i in range(2)]
        )

    def forward(s, x):
        for l in s.layers:
            x = l(x)
        return x.mean(2)


def places(grid, dim):
    """Sines and cosines of each axis: rows of `dim` features in row-major order."""
    share = dim // len(grid)
    omega = 10000.0 ** -(torch.arange(share // 2) / (share // 2))
    parts = []
    for at in torch.meshgrid(*[torch.arange(float(n)) for n in grid], indexing="ij"):
        angle = at.reshape(-1, 1) * omega
        parts += [angle.sin(), angle.cos()]
    return torch.cat(parts, 1)


class TransformerBlock(nn.Module):
    def __init__(s, dim, heads, ratio, causal):
        super().__init__()
        norm = lambda: nn.LayerNorm(dim, eps=1e-6)
        s.norm1, s.norm2, s.heads, s.causal = norm(), norm(), heads, causal
        s.attn = nn.ModuleDict({"qkv": nn.Linear(dim, 3 * dim), "proj": nn.Linear(dim, dim)})
        s.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, ratio * dim), "fc2": nn.Linear(ratio * dim, dim)})

    def attention(s, x):
        b, n, d = x.shape
        q, k, v = s.attn["qkv"](x).reshape(b, n, 3, s.heads, d // s.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=s.causal)
        return s.attn["proj"](y.transpose(1, 2).reshape(b, n, d))

    def forward(s, x):
        x = x + s.attention(s.norm1(x))
        return x + s.mlp["fc2"](F.gelu(s.mlp["fc1"](s.norm2(x))))


class Transformer(nn.Module):
    def __init__(s, grid, channels, patch, dim=8, depth=2, heads=2, ratio=3, causal=False):
        super().__init__()
        conv = {1: nn.Conv1d, 2: nn.Conv2d}
        if channels is None:
            s.patch_embed = nn.ModuleDict({"embedding": nn.Embedding(259, dim)})
        else:
            s.patch_embed = nn.ModuleDict({"proj": conv[len(grid)](channels, dim, patch, patch)})
        s.place = places(grid, dim)
        s.blocks = nn.ModuleList([TransformerBlock(dim, heads, ratio, causal) for _ in range(depth)])
        s.norm, s.keep = nn.LayerNorm(dim, eps=1e-6), None

    def forward(s, x):
        if "embedding" in s.patch_embed:
            x = s.patch_embed["embedding"](x.long())
        else:
            x = s.patch_embed["proj"](x).flatten(2).transpose(1, 2)
        x = x + s.place
        x = x if s.keep is None else s.keep @ x
        for block in s.blocks:
            x = block(x)
        return s.norm(x).mean(1)


class ResidualBlock(nn.Module):
    def __init__(s, i, o, stride):
        super().__init__()
        s.first, s.second = unit2(i, o, 3, stride, 1, "relu"), unit2(o, o, 3, 1, 1, "none")
        if stride != 1 or i != o:
            s.skip = unit2(i, o, 1, stride, 1, "none")

    def forward(s, x):
        return F.relu((s.skip(x) if hasattr(s, "skip") else x) + s.second(s.first(x)))


class Residual(nn.Module):
    def __init__(s, width=4):
        super().__init__()
        s.stem = unit2(3, width, 3, 1, 1, "relu")
        s.blocks = nn.ModuleList([ResidualBlock(width, width, 1), ResidualBlock(width, 2 * width, 2)])

    def forward(s, x):
        x = s.stem(x)
        for b in s.blocks:
            x = b(x)
        return x.mean((2, 3))


class Perceptron(nn.Module):
    def __init__(s, values, act, widths=(10, 8)):
        super().__init__()
        sizes = [values, *widths]
        s.layers, s.act = nn.ModuleList([nn.Linear(i, o) for i, o in zip(sizes, sizes[1:])]), act

    def forward(s, x):
        x = x.flatten(1)
        for layer in s.layers:
            x = s.act(layer(x))
        return x


def kept(rows, count, tokens):
    """One-hot rows: which `count` of a sample's tokens stay."""
    return torch.stack([F.one_hot(torch.randperm(tokens)[:count], tokens).double() for _ in range(rows)])


def nt_xent(z, tau):
    z = F.normalize(z, dim=1)
    n = z.shape[0]
    s = (z @ z.t() / tau).masked_fill(torch.eye(n, dtype=torch.bool), -math.inf)
    return F.cross_entropy(s, torch.arange(n).roll(n // 2))


def golden(net, x, objective, optimizer, name):
    torch.manual_seed(3)
    if objective == "nt-xent":
        head = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
        prefix = "head."
        loss_of = lambda e, t: nt_xent(head(e), 0.2)
    else:
        head = nn.Linear(8, 3)
        prefix = "classifier."
        loss_of = lambda e, t: F.cross_entropy(head(e), t)
    model = nn.ModuleDict({"encoder": net, "head": head})
    for p in model.parameters():
        p.data += 0.1 * torch.randn_like(p)
    named = {k: v for k, v in net.state_dict().items() if "num_batches" not in k}
    named |= {prefix + k: v for k, v in head.state_dict().items()}
    out = {f"initial/{k}": v.clone() for k, v in named.items()}
    targets = torch.arange(x.shape[0]) % 3
    out["views"], out["targets"] = x, F.one_hot(targets, 3).double()
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    lr, wd = (0.1, 1e-2) if optimizer == "sgd" else (1e-2, 0.1)
    groups = [{"params": decayed, "weight_decay": wd}, {"params": plain, "weight_decay": 0.0}]
    opt = torch.optim.SGD(groups, lr=lr, momentum=0.9) if optimizer == "sgd" else torch.optim.AdamW(groups, lr=lr, eps=EPS)
    out["lr"], out["weight_decay"] = torch.tensor([lr]), torch.tensor([wd])
    net.train()
    for step in range(3):
        opt.zero_grad()
        loss = loss_of(net(x), targets)
        loss.backward()
        opt.step()
        out[f"loss/{step}"] = loss.detach().reshape(1)
        if step in (0, 2):
            out |= {f"after{step}/{k}": v.detach().clone() for k, v in named.items()}
    net.eval()
    if getattr(net, "keep", None) is not None:
        out["keep"], net.keep = net.keep, None
    out["embedding"] = net(x).detach()
    save_file({k: v.detach().float().contiguous() for k, v in out.items()}, f"{HERE}/{name}.safetensors")


if __name__ == "__main__":
    torch.manual_seed(1)
    golden(Image(), torch.randn(8, 3, 16, 12), "nt-xent", "sgd", "image_nt_xent_sgd")
    golden(Image(), torch.randn(8, 3, 15, 16), "cross-entropy", "adamw", "image_cross_entropy_adamw")
    golden(Imu(), torch.randn(8, 6, 20), "nt-xent", "adamw", "imu_nt_xent_adamw")
    golden(Imu(), torch.randn(8, 6, 21), "cross-entropy", "sgd", "imu_cross_entropy_sgd")
    golden(Transformer((4, 3), 3, 4), torch.randn(8, 3, 16, 12), "nt-xent", "adamw", "vit_nt_xent_adamw")
    masked = Transformer((4, 3), 3, 4)
    masked.keep = kept(8, 5, 12)
    golden(masked, torch.randn(8, 3, 16, 12), "nt-xent", "sgd", "vit_kept_nt_xent_sgd")
    golden(Transformer((5,), 6, 4), torch.randn(8, 6, 20), "cross-entropy", "sgd", "imu_vit_cross_entropy_sgd")
    text = torch.randint(0, 259, (8, 9)).double()
    golden(Transformer((9,), None, 1, causal=True), text, "nt-xent", "adamw", "text_causal_nt_xent_adamw")
    golden(Transformer((9,), None, 1), text, "cross-entropy", "sgd", "text_cross_entropy_sgd")
    golden(Residual(), torch.randn(8, 3, 12, 8), "cross-entropy", "sgd", "residual_cross_entropy_sgd")
    golden(Perceptron(72, torch.sigmoid), torch.randn(8, 6, 12), "nt-xent", "adamw", "perceptron_nt_xent_adamw")
    golden(Perceptron(192, F.relu), torch.randn(8, 3, 8, 8), "cross-entropy", "sgd", "perceptron_cross_entropy_sgd")
