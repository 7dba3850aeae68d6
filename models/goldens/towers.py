"""Goldens of whole training steps from PyTorch in float64 whose loss compares an encoder with another one:
contrast of two encoders trained together (CLIP; Radford et al. 2021, figure 3), and regression of the
embedding of a teacher that is given (Navaneet et al. 2021).

Over the architectures of training_step.py; three steps each. Inputs, initial state, losses and the state after
the first and the third are written. Run: python towers.py (torch, safetensors).
"""
import os
import torch, torch.nn as nn, torch.nn.functional as F
from safetensors.torch import save_file

from training_step import EPS, Image, Imu

HERE = os.path.dirname(os.path.abspath(__file__))
torch.set_default_dtype(torch.float64)
TAU = 0.2


def head(layers, out):
    return nn.Sequential(nn.Linear(8, out)) if layers == 1 else nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, out))


def contrast(first, second):
    logits = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T / TAU
    labels = torch.arange(len(logits))
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def regression(predicted, taught):
    return (F.normalize(predicted, dim=1) - F.normalize(taught, dim=1)).pow(2).sum(1).mean() / 2


def golden(name, nets, inputs, loss_of, optimizer):
    """`nets` by the prefix of their weights' names, `inputs` by name, `loss_of` both."""
    for net in nets.values():
        for p in net.parameters():
            p.data += 0.1 * torch.randn_like(p)
    state = {prefix + k: v for prefix, net in nets.items() for k, v in net.state_dict().items()}
    state = {k: v for k, v in state.items() if "num_batches" not in k}
    trained = {prefix + k: p for prefix, net in nets.items() for k, p in net.named_parameters()}
    out = inputs | {f"initial/{k}": v.clone() for k, v in state.items()}
    lr, wd = (1e-2, 0.1) if optimizer == "adamw" else (0.1, 1e-2)
    out["lr"], out["weight_decay"] = torch.tensor([lr]), torch.tensor([wd])
    decayed = {"params": [p for p in trained.values() if p.dim() > 1], "weight_decay": wd}
    plain = {"params": [p for p in trained.values() if p.dim() <= 1], "weight_decay": 0.0}
    if optimizer == "sgd":
        opt, memory = torch.optim.SGD([decayed, plain], lr=lr, momentum=0.9), {"momentum": "momentum_buffer"}
    else:
        opt = torch.optim.AdamW([decayed, plain], lr=lr, eps=EPS)
        memory = {"mean": "exp_avg", "square": "exp_avg_sq"}
    for step in range(3):
        opt.zero_grad()
        loss = loss_of(inputs)
        loss.backward()
        opt.step()
        out[f"loss/{step}"] = loss
        if step in (0, 2):
            for k, p in trained.items():
                state |= {f"{k}/{ours}": opt.state[p][theirs] for ours, theirs in memory.items()}
            out |= {f"after{step}/{k}": v.detach().clone() for k, v in state.items()}
    out = {k: v.detach().float().contiguous() for k, v in out.items()}
    save_file({k: v.reshape(1) if v.dim() == 0 else v for k, v in out.items()}, f"{HERE}/{name}.safetensors")


def cross_modal(optimizer, layers):
    image, imu, first, second = Image(), Imu(), head(layers, 4), head(layers, 4)
    nets = {"": image, "second.": imu, "head.": first, "head.second.": second}
    inputs = {"views": torch.randn(8, 3, 10, 8), "second": torch.randn(8, 6, 20)}
    loss = lambda given: contrast(first(image(given["views"])), second(imu(given["second"])))
    golden(f"objective_cross_modal_{optimizer}", nets, inputs, loss, optimizer)


def distillation(optimizer, layers):
    net = Image() if optimizer == "sgd" else Imu()
    views = torch.randn(8, 3, 10, 8) if optimizer == "sgd" else torch.randn(8, 6, 20)
    projection = head(layers, 5)
    inputs = {"views": views, "taught": torch.randn(8, 5)}
    loss = lambda given: regression(projection(net(given["views"])), given["taught"])
    golden(f"objective_distillation_{optimizer}", {"": net, "head.": projection}, inputs, loss, optimizer)


if __name__ == "__main__":
    torch.manual_seed(7)
    for optimizer, layers in (("sgd", 1), ("adamw", 2)):
        cross_modal(optimizer, layers)
        distillation(optimizer, layers)
