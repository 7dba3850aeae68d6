"""Goldens of the transformer architecture from PyTorch in float64: a vision transformer over images and one
over windows, whole and with some of their tokens kept.

The network is written as the papers state it (Dosovitskiy et al. 2021; He et al. 2022 for positions and the
mean over tokens), weights under the names that Sedge and timm give them. For each: the embedding of a batch,
and three steps of SGD with momentum on the cross entropy of a linear layer on it, losses and the state after
the first and the third. Run: python transformer.py (torch, safetensors).
"""
import os
import torch, torch.nn.functional as F
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
torch.set_default_dtype(torch.float64)
DIM, DEPTH, HEADS, PATCH, RATIO, CLASSES, ROWS = 16, 2, 4, 4, 2, 3, 6


def positions(grid):
    share = DIM // len(grid)
    rates = 1.0 / 10000 ** (torch.arange(share // 2) / (share / 2))
    places = torch.cartesian_prod(*[torch.arange(n).double() for n in grid]).reshape(-1, len(grid))
    parts = [f(places[:, axis, None] * rates) for axis in range(len(grid)) for f in (torch.sin, torch.cos)]
    return torch.cat(parts, 1)


def weights(channels, axes):
    w = {"patch_embed.proj.weight": torch.randn(DIM, channels, *[PATCH] * axes) / 5}
    linear = lambda name, out, inner: w.update({f"{name}.weight": torch.randn(out, inner) / inner**0.5, f"{name}.bias": torch.randn(out) / 5})
    norm = lambda name: w.update({f"{name}.weight": 1 + torch.randn(DIM) / 5, f"{name}.bias": torch.randn(DIM) / 5})
    w["patch_embed.proj.bias"] = torch.randn(DIM) / 5
    for i in range(DEPTH):
        block = f"blocks.{i}"
        norm(f"{block}.norm1"), norm(f"{block}.norm2")
        linear(f"{block}.attn.qkv", 3 * DIM, DIM), linear(f"{block}.attn.proj", DIM, DIM)
        linear(f"{block}.mlp.fc1", RATIO * DIM, DIM), linear(f"{block}.mlp.fc2", DIM, RATIO * DIM)
    norm("norm")
    linear("classifier", CLASSES, DIM)
    return w


def embed(w, x, keep=None):
    conv = F.conv2d if x.dim() == 4 else F.conv1d
    x = conv(x, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=PATCH)
    x, grid = x.flatten(2).transpose(1, 2), x.shape[2:]
    x = x + positions(grid)
    x = x if keep is None else keep @ x
    linear = lambda name, x: F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])
    norm = lambda name, x: F.layer_norm(x, [DIM], w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)
    for i in range(DEPTH):
        block = f"blocks.{i}"
        b, n, _ = x.shape
        q, k, v = linear(f"{block}.attn.qkv", norm(f"{block}.norm1", x)).reshape(b, n, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, DIM)
        x = x + linear(f"{block}.attn.proj", y)
        y = F.gelu(linear(f"{block}.mlp.fc1", norm(f"{block}.norm2", x)))
        x = x + linear(f"{block}.mlp.fc2", y)
    return norm("norm", x).mean(1)


def golden(name, shape, kept):
    torch.manual_seed(len(name))
    x = torch.randn(ROWS, *shape)
    tokens = 1
    for extent in shape[1:]:
        tokens *= extent // PATCH
    keep = None
    if kept:
        keep = torch.stack([F.one_hot(torch.randperm(tokens)[:kept], tokens).double() for _ in range(ROWS)])
    targets = F.one_hot(torch.randint(CLASSES, (ROWS,)), CLASSES).double()
    w = weights(shape[0], len(shape) - 1)
    out = {"views": x, "targets": targets, "embedding": embed(w, x, keep)}
    out.update({} if keep is None else {"keep": keep})
    out.update({f"initial/{k}": v.clone() for k, v in w.items()})
    w = {k: v.requires_grad_() for k, v in w.items()}
    optimizer = torch.optim.SGD(w.values(), lr=0.05, momentum=0.9)
    for at in range(3):
        optimizer.zero_grad()
        logits = F.linear(embed(w, x, keep), w["classifier.weight"], w["classifier.bias"])
        loss = -(targets * logits.log_softmax(1)).sum(1).mean()
        loss.backward()
        optimizer.step()
        out[f"loss/{at}"] = loss.detach().reshape(1)
        if at != 1:
            out.update({f"after{at}/{k}": v.detach().clone() for k, v in w.items()})
    out = {k: v.detach().float().contiguous() for k, v in out.items()}
    save_file(out, os.path.join(HERE, f"transformer_{name}.safetensors"))


golden("image", [3, 8, 16], 0)
golden("image_kept", [3, 8, 16], 3)
golden("window", [6, 32], 0)
golden("window_kept", [6, 32], 2)
