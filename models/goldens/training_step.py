"""Goldens of whole training steps from PyTorch in float64.

Builds the two architectures small, in training form, and runs NT-Xent and cross entropy under SGD and
AdamW for three steps. Writes inputs, initial state, losses and the state after each step, so that the
graphs compiled here can be held against it. Run: python training_step.py (torch, safetensors).
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
    out["embedding"] = net(x).detach()
    save_file({k: v.detach().float().contiguous() for k, v in out.items()}, f"{HERE}/{name}.safetensors")


if __name__ == "__main__":
    torch.manual_seed(1)
    golden(Image(), torch.randn(8, 3, 16, 12), "nt-xent", "sgd", "image_nt_xent_sgd")
    golden(Image(), torch.randn(8, 3, 15, 16), "cross-entropy", "adamw", "image_cross_entropy_adamw")
    golden(Imu(), torch.randn(8, 6, 20), "nt-xent", "adamw", "imu_nt_xent_adamw")
    golden(Imu(), torch.randn(8, 6, 21), "cross-entropy", "sgd", "imu_cross_entropy_sgd")
