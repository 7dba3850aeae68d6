"""Goldens of whole training steps from PyTorch in float64, one for each objective and optimiser.

Every loss is written here as its paper states it, over the architectures of training_step.py. Three steps
are run; inputs, initial state, losses and the state after the first and the third are written: weights,
running statistics, optimiser memory, the teacher's weights, the queue. Further goldens cover clipping by
the global norm, the pull towards the frozen encoder, and LARS. Run: python objectives.py (torch,
safetensors).
"""
import copy, os
import torch, torch.nn as nn, torch.nn.functional as F
from safetensors.torch import save_file

from training_step import EPS, Image, Imu, nt_xent

HERE = os.path.dirname(os.path.abspath(__file__))
torch.set_default_dtype(torch.float64)
TAU, EMA, QUEUE = 0.2, 0.9, 12
VICREG = (25.0, 25.0, 1.0)
BARLOW, BETA = 0.05, 0.5


def head(hidden, out, width=8):
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out))


class Views(nn.Sequential):
    """Each half of the rows by itself, so that batch norms see one view at a time."""

    def forward(s, x):
        return torch.cat([nn.Sequential.forward(s, view) for view in x.chunk(2)])


def normalised(layers, hidden, out, every, width):
    """A head of linear layers with batch norms between; with `every`, one without scale behind the last too."""
    parts, widths = [], [width] + [hidden] * (layers - 1) + [out]
    for i in range(layers):
        last = i + 1 == layers
        norm = every or not last
        parts.append(nn.Linear(widths[i], widths[i + 1], bias=not norm))
        if norm:
            parts.append(nn.BatchNorm1d(widths[i + 1], affine=not last, track_running_stats=False))
        if not last:
            parts.append(nn.ReLU())
    return Views(*parts)


def off_diagonal(m):
    return m - torch.diag(torch.diag(m))


def vicreg(z):
    a, b = z.chunk(2)
    n, d = a.shape
    loss = VICREG[0] * F.mse_loss(a, b)
    for v in (a, b):
        loss = loss + VICREG[1] * F.relu(1 - torch.sqrt(v.var(0) + 1e-4)).mean()
        loss = loss + VICREG[2] * off_diagonal(torch.cov(v.T)).pow(2).sum() / d
    return loss


def barlow(z):
    a, b = ((v - v.mean(0)) / v.std(0, unbiased=False) for v in z.chunk(2))
    c = a.T @ b / a.shape[0]
    return (1 - torch.diag(c)).pow(2).sum() + BARLOW * off_diagonal(c).pow(2).sum()


def swapped(z):
    return z.roll(z.shape[0] // 2, 0)


def negative_cosine(p, z):
    return -F.cosine_similarity(p, z).mean()


def simsiam(z, p):
    (z1, z2), (p1, p2) = z.detach().chunk(2), p.chunk(2)
    return negative_cosine(p1, z2) / 2 + negative_cosine(p2, z1) / 2


def byol(p, t):
    (p1, p2), (t1, t2) = p.chunk(2), t.detach().chunk(2)
    distance = lambda a, b: (2 - 2 * F.cosine_similarity(a, b)).mean()
    return distance(p1, t2) + distance(p2, t1)


def moco(z, keys, queue):
    z = F.normalize(z, dim=1)
    positive = (z * swapped(keys)).sum(1, keepdim=True)
    logits = torch.cat([positive, z @ queue.T], 1) / TAU
    return F.cross_entropy(logits, torch.zeros(len(z), dtype=torch.long))


def moco_v3(q, keys):
    (q1, q2), (k1, k2) = F.normalize(q, dim=1).chunk(2), keys.chunk(2)
    contrast = lambda q, k: 2 * TAU * F.cross_entropy(q @ k.T / TAU, torch.arange(len(q)))
    return contrast(q1, k2) + contrast(q2, k1)


def tokens(net, x):
    """What the networks of training_step.py average, one row a place."""
    for layer in [net.stem, *net.blocks, net.last] if isinstance(net, Image) else net.layers:
        x = layer(x)
    return x.flatten(2).mT


def data2vec(predicted, taught, mask):
    target = F.layer_norm(taught, taught.shape[2:]).detach()
    error = F.smooth_l1_loss(predicted, target, beta=BETA, reduction="none").mean(2) * mask[:, :, 0]
    return (error.sum(1) / mask.sum((1, 2)).clamp(min=1)).mean()


def spread(taught):
    return F.layer_norm(taught, taught.shape[2:]).flatten(0, 1).std(0, unbiased=False).mean()


def masked(rebuilt, targets, mask):
    error = (rebuilt - targets.flatten(1)) ** 2 * mask.flatten(1)
    return (error.sum(1) / mask.flatten(1).sum(1)).mean()


class Lars:
    """Without trust for tensors of one axis, which move by plain SGD."""

    def __init__(s, parameters, lr, decay, momentum=0.9, trust=1e-3):
        s.parameters, s.lr, s.decay, s.momentum, s.trust = parameters, lr, decay, momentum, trust
        s.state = {p: {"momentum_buffer": torch.zeros_like(p)} for p in parameters}

    def step(s):
        with torch.no_grad():
            for p in s.parameters:
                g = p.grad
                if p.dim() > 1:
                    g = g + s.decay * p
                    g = g * s.trust * p.norm() / (p.grad.norm() + s.decay * p.norm())
                m = s.state[p]["momentum_buffer"]
                m.mul_(s.momentum).add_(g)
                p.sub_(s.lr * m)

    def zero_grad(s):
        for p in s.parameters:
            p.grad = None


def golden(name, net, x, objective, optimizer, clip=None, reference=None, decoder=None, norm=None):
    torch.manual_seed(3)
    out, values = {"views": x}, x[0].numel()
    parts = {"head": head(8, 4)}
    if norm:
        layers, every = norm
        parts = {"head": normalised(layers, 8, 4, every, 8)}
    if objective in ("simsiam", "byol", "moco_v3"):
        parts["predictor"] = normalised(2, 3, 4, False, 4) if norm else head(3, 4, 4)
    if objective == "data2vec":
        parts = {"predictor": nn.Linear(8, 8)}
        out["whole"], places = torch.randn_like(x), tokens(copy.deepcopy(net), x).shape[1]
        out["mask"] = (torch.rand(len(x), places, 1) < 0.4).double()
    if objective == "masked":
        parts = {"decoder": head(decoder, values) if decoder else nn.Linear(8, values)}
        out["targets"], out["mask"] = torch.randn_like(x), (torch.rand_like(x) < 0.4).double()
    parts = nn.ModuleDict(parts)
    for p in [*net.parameters(), *parts.parameters()]:
        p.data += 0.1 * torch.randn_like(p)
    prefix = {"head": "head.", "predictor": "head.predictor.", "decoder": "head.decoder."}
    named = {k: v for k, v in net.state_dict().items() if "num_batches" not in k}
    named |= {prefix[part] + k: v for part, m in parts.items() for k, v in m.state_dict().items()}
    trained = {k: p for k, p in net.named_parameters()}
    trained |= {prefix[part] + k: p for part, m in parts.items() for k, p in m.named_parameters()}
    students, teachers = [net, parts["head"]] if "head" in parts else [net], []
    queue = F.normalize(torch.randn(QUEUE, 4), dim=1)
    state = dict(named)
    if objective in ("moco", "moco_v3", "byol", "data2vec"):
        teachers = copy.deepcopy(students)
        for (part, m) in zip(("", "head."), teachers):
            state |= {part + k + "/teacher": p.data for k, p in m.named_parameters()}
    if objective == "moco":
        state["queue"] = queue
    frozen = copy.deepcopy(net)
    out |= {f"initial/{k}": v.clone() for k, v in state.items()}

    lr, wd = (1e-2, 0.1) if optimizer == "adamw" else (0.1, 1e-2)
    # Correlations over a few pairs are steep: at the usual rate rounding grows tenfold a step.
    # So are norms of eight rows under BYOL's loss, where PyTorch in float32 strays half as far as we do.
    lr = lr / 5 if objective == "barlow" else lr / 10 if objective == "byol" and norm else lr
    decayed = [p for p in trained.values() if p.dim() > 1]
    plain = [p for p in trained.values() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": wd}, {"params": plain, "weight_decay": 0.0}]
    memory = {"momentum": "momentum_buffer"}
    if optimizer == "sgd":
        opt = torch.optim.SGD(groups, lr=lr, momentum=0.9)
    elif optimizer == "lars":
        opt = Lars(list(trained.values()), lr, wd)
    else:
        opt = torch.optim.AdamW(groups, lr=lr, eps=EPS)
        memory = {"mean": "exp_avg", "square": "exp_avg_sq"}
    out["lr"], out["weight_decay"] = torch.tensor([lr]), torch.tensor([wd])
    net.train(), frozen.train()
    for step in range(3):
        opt.zero_grad()
        local = tokens(net, x) if objective == "data2vec" else None
        embedding = net(x) if local is None else local.mean(1)
        z = parts["head"](embedding) if "head" in parts else None
        if objective in ("moco", "moco_v3"):
            keys = F.normalize(teachers[1](teachers[0](x)), dim=1).detach()
        if objective == "data2vec":
            taught = tokens(teachers[0], out["whole"])
            out[f"target_spread/{step}"] = spread(taught)
        loss = {
            "nt-xent": lambda: nt_xent(z, TAU),
            "moco": lambda: moco(z, keys, queue),
            "vicreg": lambda: vicreg(z),
            "barlow": lambda: barlow(z),
            "simsiam": lambda: simsiam(z, parts["predictor"](z)),
            "byol": lambda: byol(parts["predictor"](z), teachers[1](teachers[0](x))),
            "moco_v3": lambda: moco_v3(parts["predictor"](z), keys),
            "data2vec": lambda: data2vec(parts["predictor"](local), taught, out["mask"]),
            "masked": lambda: masked(parts["decoder"](embedding), out["targets"], out["mask"]),
        }[objective]()
        if reference is not None:
            distance = (1 - F.cosine_similarity(embedding, frozen(x).detach())).mean()
            loss = loss + reference * distance
            out[f"reference_distance/{step}"] = distance
        loss.backward()
        if clip is not None:
            out[f"gradient_norm/{step}"] = nn.utils.clip_grad_norm_(trained.values(), clip)
        opt.step()
        with torch.no_grad():
            for student, teacher in zip(students, teachers):
                for p, t in zip(student.parameters(), teacher.parameters()):
                    t.copy_(EMA * t + (1 - EMA) * p)
            if objective == "moco":
                queue.copy_(torch.cat([keys, queue])[:QUEUE])
        out[f"loss/{step}"] = loss
        if step in (0, 2):
            for k, p in trained.items():
                state |= {f"{k}/{ours}": opt.state[p][theirs] for ours, theirs in memory.items()}
            out |= {f"after{step}/{k}": v.detach().clone() for k, v in state.items()}
    out = {k: v.detach().float().contiguous() for k, v in out.items()}
    save_file({k: v.reshape(1) if v.dim() == 0 else v for k, v in out.items()}, f"{HERE}/{name}.safetensors")


if __name__ == "__main__":
    torch.manual_seed(1)
    image = lambda rows=8: torch.randn(rows, 3, 10, 8)
    imu = lambda rows=8: torch.randn(rows, 6, 20)
    for objective in ("moco", "vicreg", "barlow", "simsiam", "byol", "masked"):
        rows = 16 if objective == "barlow" else 8
        golden(f"objective_{objective}_sgd", Image(), image(rows), objective, "sgd")
        golden(f"objective_{objective}_adamw", Imu(), imu(rows), objective, "adamw", decoder=5)
    golden("clip_nt_xent_sgd", Imu(), imu(), "nt-xent", "sgd", clip=0.5)
    golden("reference_byol_adamw", Imu(), imu(), "byol", "adamw", clip=5.0, reference=0.7)
    golden("reference_nt_xent_sgd", Image(), image(), "nt-xent", "sgd", reference=2.0)
    golden("lars_nt_xent", Image(), image(), "nt-xent", "lars")
    for objective, norm in (("vicreg", (3, False)), ("simsiam", (3, True)), ("byol", (2, False)), ("moco_v3", (3, True))):
        golden(f"objective_{objective}_norm_sgd", Image(), image(16), objective, "sgd", norm=norm)
        golden(f"objective_{objective}_norm_adamw", Imu(), imu(16), objective, "adamw", norm=norm)
    golden("objective_data2vec_sgd", Image(), image(), "data2vec", "sgd")
    golden("objective_data2vec_adamw", Imu(), imu(), "data2vec", "adamw")
