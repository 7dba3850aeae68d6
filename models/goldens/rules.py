"""Goldens of the gradient rules from PyTorch in float64.

Small networks that between them hold the operators of convolutional, residual and transformer encoders,
each exported by both of PyTorch's exporters (names ending in `.script` and `.dynamo`). For each: an input, and the
gradient of a weighted sum of the outputs with respect to the input and every weight. Writes rules.tar (the
networks) and rules.safetensors.
Run: python rules.py (torch, torchvision, onnx, onnxscript, safetensors).
"""
import contextlib, io, os, tarfile, warnings
import numpy as np, onnx, onnx.numpy_helper, torch, torch.nn as nn, torch.nn.functional as F, torchvision
from safetensors.torch import save_file

tarfile.RECORDSIZE = tarfile.BLOCKSIZE
HERE = os.path.dirname(os.path.abspath(__file__))
warnings.filterwarnings("ignore")


# Networks that both exporters write in the same operators.
SAME = ("pools", "tied_pools", "means", "convolutions", "padded", "line", "residual", "causal")


class Branches(nn.Module):
    """The outputs of several functions of one value, side by side."""

    def __init__(s, *branches):
        super().__init__()
        s.branches = branches
        s.held = nn.ModuleList([b for b in branches if isinstance(b, nn.Module)])

    def forward(s, x):
        return torch.cat([b(x).reshape(x.shape[0], -1) for b in s.branches], 1)


class Rows(nn.Module):
    """Each function of a row of its own."""

    def __init__(s, *functions):
        super().__init__()
        s.functions = functions

    def forward(s, x):
        return torch.cat([f(x[i : i + 1]) for i, f in enumerate(s.functions)])


class Then(nn.Module):
    def __init__(s, first, *then):
        super().__init__()
        s.first, s.then = first, Branches(*then)

    def forward(s, x):
        return s.then(s.first(x))


class Residual(nn.Module):
    """A stem with a max pool and two residual units, one of which goes down."""

    def __init__(s):
        super().__init__()
        s.stem = nn.Conv2d(2, 4, 3, 2, 1)
        s.a, s.b = nn.Conv2d(4, 4, 3, 1, 1), nn.Conv2d(4, 6, 3, 2, 1)
        s.down, s.head = nn.Conv2d(4, 6, 1, 2), nn.Linear(6, 4)

    def forward(s, x):
        x = F.max_pool2d(F.relu(s.stem(x)), 3, 2, 1)
        x = F.relu(x + s.a(x))
        x = F.relu(s.down(x) + s.b(x))
        return s.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Mobile(nn.Module):
    """Inverted residuals with squeeze-and-excitation, as in MobileNetV3 and EfficientNet."""

    def __init__(s):
        super().__init__()
        s.stem, s.expand = nn.Conv2d(2, 4, 3, 2, 1), nn.Conv2d(4, 8, 1)
        s.filter, s.project = nn.Conv2d(8, 8, 5, 1, 2, groups=8), nn.Conv2d(8, 4, 1)
        s.hard = torchvision.ops.SqueezeExcitation(8, 2, scale_activation=nn.Hardsigmoid)
        s.soft = torchvision.ops.SqueezeExcitation(4, 2, activation=nn.SiLU)

    def forward(s, x):
        x = F.hardswish(s.stem(x))
        y = s.hard(F.relu6(s.filter(F.silu(s.expand(x)))))
        return (x + s.soft(s.project(y))).mean((2, 3))


class Transformer(nn.Module):
    """Patches, class token, positional embedding and one encoder layer."""

    def __init__(s):
        super().__init__()
        s.patch = nn.Conv2d(2, 8, 4, 4)
        s.token, s.position = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 5, 8))
        s.layer = nn.TransformerEncoderLayer(8, 2, 8, 0.0, "gelu", batch_first=True, norm_first=True)
        s.norm = nn.LayerNorm(8)

    def forward(s, x):
        x = s.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([s.token.expand(x.shape[0], -1, -1), x], 1) + s.position
        return s.norm(s.layer(x))[:, 0]


class Attention(nn.Module):
    def __init__(s, causal, approximate):
        super().__init__()
        s.qkv, s.out, s.causal, s.approximate = nn.Linear(8, 24), nn.Linear(8, 4), causal, approximate

    def forward(s, x):
        n, t, d = x.shape
        q, k, v = s.qkv(x).reshape(n, t, 3, 2, d // 2).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=s.causal).transpose(1, 2).reshape(n, t, d)
        return s.out(F.gelu(y, approximate=s.approximate)).mean(1)


def networks():
    sequence, image, window = torch.randn(2, 5, 8), torch.randn(2, 2, 8, 8), torch.randn(2, 3, 12)
    few = torch.randint(0, 3, (2, 2, 8, 7)).float()
    functions = [
        F.relu, F.relu6, F.silu, F.hardswish, F.hardsigmoid, F.hardtanh, F.gelu, F.elu, F.selu, F.celu, F.softplus,
        F.softsign, F.mish, F.logsigmoid, F.tanhshrink, torch.tanh, torch.sigmoid, torch.erf, torch.abs, torch.exp,
        torch.sin, torch.cos, torch.square, torch.atan, lambda v: F.gelu(v, approximate="tanh"),
        lambda v: F.leaky_relu(v, 0.1), lambda v: F.softshrink(v, 0.2), lambda v: F.hardshrink(v, 0.2),
        lambda v: v.clamp(-0.3, 0.7), lambda v: v**3, lambda v: v.abs() ** 1.5, lambda v: (v * v + 1).log(),
        lambda v: (v * v + 1).rsqrt(), lambda v: 1 / (v * v + 1), lambda v: (v * v + 1).sqrt(), lambda v: v + v.floor(),
        lambda v: torch.where(v > 0.1, v, v * v), lambda v: v * torch.sigmoid(1.702 * v),
    ]
    picked = torch.tensor([3, 1, 1])
    gathered = torch.randint(0, 5, (2, 3, 8), generator=torch.Generator().manual_seed(3))
    moves = [
        lambda v: v.flip(1), lambda v: v[:, ::2, 1::3], lambda v: v.roll(2, 1), lambda v: v.index_select(1, picked),
        lambda v: v[:, 2], lambda v: v.gather(1, gathered), lambda v: v.repeat(1, 2, 1), lambda v: v.transpose(1, 2),
        lambda v: v.mean(1, keepdim=True).expand(-1, 3, -1), lambda v: F.pad(v, (1, 2)), lambda v: F.glu(v, 2),
        lambda v: v.masked_fill(torch.eye(5, 8).bool(), -9.0), lambda v: torch.maximum(v, v.flip(1)),
        lambda v: torch.minimum(v, 0.3 * v.flip(2)), lambda v: v.cumsum(1),
    ]
    reductions = [
        lambda v: v.sum(1), lambda v: v.mean((1, 2)), lambda v: v.amax(1), lambda v: v.amin(2), lambda v: v.std(1),
        lambda v: v.var(2), lambda v: v.prod(1), lambda v: F.normalize(v, dim=2), lambda v: v.logsumexp(1),
        lambda v: v.softmax(1), lambda v: v.log_softmax(2), lambda v: v.norm(dim=1),
    ]
    products = [
        lambda v: torch.einsum("bij,bkj->bik", v, v), lambda v: torch.einsum("bij,bkj,bkl->bil", v, v, v),
        lambda v: v @ v.transpose(1, 2), lambda v: torch.einsum("bij->bj", v),
    ]
    pools = [
        nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.MaxPool2d(2, 1, dilation=2),
        nn.AdaptiveMaxPool2d(1),
    ]
    means = [
        nn.AvgPool2d(2), nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(3, 2, 1, ceil_mode=True), nn.AdaptiveAvgPool2d((4, 2)),
        nn.AvgPool2d(3, 2, 1, count_include_pad=False, ceil_mode=True), nn.AdaptiveAvgPool2d(1), nn.AvgPool2d(3, 1, 1),
    ]
    convolutions = [
        nn.Conv2d(2, 3, 3), nn.Conv2d(2, 3, 3, 2, 1), nn.Conv2d(2, 4, (3, 2), (1, 2), groups=2), nn.Conv2d(2, 2, 3, groups=2),
        nn.Conv2d(2, 2, 3, 2, 2, 2), nn.Conv2d(2, 4, 2, 3, 0, 2, groups=2), nn.ConvTranspose2d(2, 2, 2, 2, groups=2),
    ]
    padded = [nn.Conv2d(2, 2, 3, padding=1, padding_mode=m) for m in ("reflect", "replicate")]
    line = [nn.Conv1d(4, 4, 5, 2, 2), nn.Conv1d(4, 4, 3, groups=2, dilation=2), nn.Conv1d(4, 4, 3, 1, 1, groups=4), nn.MaxPool1d(2),
            nn.AvgPool1d(3, 2, 1)]
    norms = [nn.LayerNorm(8), nn.RMSNorm(8), nn.GroupNorm(5, 5), nn.InstanceNorm1d(5, affine=True)]
    return {
        "functions": (Rows(*functions), 2 * torch.randn(len(functions), 7)),
        "moves": (Branches(*moves), sequence),
        "reductions": (Branches(*reductions), sequence),
        "products": (Branches(*products), sequence),
        "pools": (Branches(*pools), image),
        # Without the global one, which is exported as a reduction: that shares between tied values.
        "tied_pools": (Branches(*pools[:4]), few),
        "means": (Branches(*means), image),
        "convolutions": (Branches(*convolutions), image),
        "padded": (Then(nn.Conv2d(2, 2, 1), *padded), image),
        "line": (Then(nn.Conv1d(3, 4, 1), *line), window),
        "norms": (Then(nn.Linear(8, 8), *norms), sequence),
        "prelu": (nn.Sequential(nn.Conv1d(3, 4, 1), nn.PReLU(4), nn.Upsample(scale_factor=2), nn.Flatten()), window),
        "shuffle": (nn.Sequential(nn.Conv2d(2, 4, 1), nn.ChannelShuffle(2), nn.PixelShuffle(2), nn.Flatten()), image),
        "residual": (Residual(), torch.randn(2, 2, 11, 12)),
        "mobile": (Mobile(), image),
        "transformer": (Transformer(), image),
        "attention": (Attention(False, "tanh"), sequence),
        "causal": (Attention(True, "none"), sequence),
    }


def export(net, x, dynamo):
    file = io.BytesIO()
    names = {"input_names": ["x"], "output_names": ["y"]}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if dynamo:
            program = torch.onnx.export(net, (x,), dynamo=True, **names)
            return program.model_proto
        torch.onnx.export(net, x, file, dynamo=False, opset_version=17, **names)
    return onnx.load_from_string(file.getvalue())


def named(model, net):
    """Weights under the names of their parameters, transposed ones with `.T` behind; everything else numbered."""
    names, parameters = {"x": "x", "y": "y"}, list(net.named_parameters())
    missing = {name for name, _ in parameters}
    for initializer in model.graph.initializer:
        value = torch.from_numpy(onnx.numpy_helper.to_array(initializer).copy())
        for name, p in parameters:
            for form, suffix in ((p, ""), (p.mT if p.dim() == 2 else p, ".T")):
                if name in missing and value.shape == form.shape and value.numel() > 1 and torch.equal(value, form):
                    names[initializer.name] = name + suffix
                    missing.discard(name)
    if missing:
        print("not named in the file:", missing)

    def short(name):
        return names.setdefault(name, f"v{len(names)}") if name else name

    for value in [*model.graph.input, *model.graph.output, *model.graph.initializer]:
        value.name = short(value.name)
    for node in model.graph.node:
        node.name = ""
        node.input[:], node.output[:] = map(short, list(node.input)), map(short, list(node.output))
    return model


def bare(model):
    """Without what only people read."""
    for value in [model, model.graph, *model.graph.node]:
        value.doc_string = ""
        del value.metadata_props[:]
    for value in [*model.graph.input, *model.graph.output, *model.graph.initializer]:
        del value.metadata_props[:]
    del model.graph.value_info[:], model.functions[:]
    return model


def gradients(name, net, x, out):
    """Of the sum of `cos(0.7 i)` times output element `i`."""
    y = net(x)
    c = torch.cos(0.7 * torch.arange(y.numel(), dtype=torch.float64)).float().double().reshape(y.shape)
    named = dict(net.named_parameters())
    found = torch.autograd.grad((c * y).sum(), [x, *named.values()])
    out[f"{name}/x"] = x
    for key, value in zip(["x", *named], found):
        out[f"{name}/gradient/{key}"] = value


def main():
    torch.manual_seed(2)
    out = {}
    with tarfile.open(f"{HERE}/rules.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, (net, x) in networks().items():
            # Random weights, biases too: no two are equal, no value is on a kink, nothing vanishes.
            for p in net.parameters():
                p.data = 0.5 * torch.randn_like(p)
            net.eval()
            for kind in ("dynamo",) if name in SAME else ("script", "dynamo"):
                try:
                    model = named(bare(export(net.float(), x.float(), kind == "dynamo")), net)
                except Exception as error:
                    print(name, kind, "not exported:", str(error)[:100].replace("\n", " "))
                    continue
                data = model.SerializeToString()
                info = tarfile.TarInfo(f"{name}.{kind}.onnx")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
            gradients(name, net.double(), x.double().requires_grad_(), out)
    save_file({k: v.detach().float().contiguous() for k, v in out.items()}, f"{HERE}/rules.safetensors")


main()
