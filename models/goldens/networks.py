"""Writes the encoders in networks/ and what PyTorch says in float64 of training them.

    pip install torch==2.15.0 onnx==1.23.2 safetensors==0.8.0 && python networks.py [MOBILENET.onnx]

`<net>.onnx` is an encoder as PyTorch exports it. `<net>.safetensors` holds, for a batch of two views of
four samples under NT-Xent, the loss `<form>/loss` and the gradient of every weight `<form>/<weight>` in PyTorch's
axes, where form says what becomes of batch norms: `folded`, `affine` (by stored statistics) or `statistics` (by
the batch's). Of a gradient of more than `WHOLE` values there are its norm and its products with fixed noise.
`curves.safetensors` holds the losses of a hundred steps, once in float32 too. `large.safetensors` holds gradients
of a batch of 64, at two sizes, through a network with kinks and a smooth one, and how far PyTorch's own float32
is off: `<net><size>/single`, median and largest over the weights. With the path of a third-party MobileNetV2 (batch norm
folded), its gradients are written too; they come from an interpreter of its graph, below.

Inputs, heads and the vectors of the products are no data: `noise` and `pattern` give them, here and in the test.
"""

import copy
import pathlib
import sys
import warnings

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from safetensors.numpy import save_file
from torch import nn
from torch.fx.experimental.optimization import fuse

warnings.filterwarnings("ignore")
HERE = pathlib.Path(__file__).parent / "networks"
BATCH, CURVE_BATCH, STEPS, POOL = 8, 16, 100, 32
HEAD, TEMPERATURE = 16, 0.2
WHOLE, PRODUCTS = 128, 4


def noise(shape, seed):
    """Evenly spread over -1 to 1, by row-major position and seed."""
    i = np.arange(np.prod(shape, dtype=int), dtype=np.float64)
    x = np.sin(12.9898 * i + 78.233 * seed) * 43758.5453
    return torch.from_numpy((2 * (x - np.floor(x)) - 1).reshape(shape))


def single(x):
    return x.float().double()


def pattern(shape, step):
    """Two views of half a batch: a wave of its own for each of POOL samples, under fresh noise."""
    rows, c, h, w = (*shape, 1)[:4]
    n = np.arange(rows) % (rows // 2)
    sample = ((step * (rows // 2) + n) % POOL).astype(np.float64)
    table = [noise((POOL,), seed).numpy()[sample.astype(int)] for seed in (1, 2, 3)]
    f, g, phase = (t.reshape(-1, 1, 1, 1) for t in table)
    at = lambda n, axis: (np.arange(n) / n).reshape([-1 if i == axis else 1 for i in range(4)])
    channel = np.arange(c).reshape(1, -1, 1, 1) * phase
    x = np.sin(2 * np.pi * (4 * f * at(h, 2) + 4 * g * at(w, 3)) + 3 * phase + channel)
    return single(torch.from_numpy(x.reshape(shape)) + 0.5 * noise(shape, 100 + step))


class Unit(nn.Sequential):
    def __init__(self, i, o, kernel, stride=1, groups=1, act=None):
        layers = [nn.Conv2d(i, o, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(o)]
        super().__init__(*layers, *([act()] if act else []))


class Squeeze(nn.Module):
    def __init__(self, width, act, gate):
        super().__init__()
        self.pool, self.fc1, self.fc2 = nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, 6, 1), nn.Conv2d(6, width, 1)
        self.act, self.gate = act(), gate()

    def forward(self, x):
        return x * self.gate(self.fc2(self.act(self.fc1(self.pool(x)))))


class Inverted(nn.Module):
    """Expansion, depthwise filter, perhaps squeeze and excitation, projection."""

    def __init__(self, i, o, kernel, stride, act, squeeze):
        super().__init__()
        h, self.skip = 2 * i, stride == 1 and i == o
        layers = [Unit(i, h, 1, act=act), Unit(h, h, kernel, stride, h, act)]
        self.block = nn.Sequential(*layers, *([squeeze(h)] if squeeze else []), Unit(h, o, 1))

    def forward(self, x):
        return x + self.block(x) if self.skip else self.block(x)


class Mobile(nn.Module):
    def __init__(self, act=nn.ReLU6, squeeze=None, kernel=3):
        super().__init__()
        shapes = [(8, 12, 3, 2), (12, 12, kernel, 1), (12, 16, kernel, 2), (16, 16, 3, 1)]
        blocks = [Inverted(*shape, act, squeeze) for shape in shapes]
        self.features = nn.Sequential(Unit(3, 8, 3, 2, act=act), *blocks, Unit(16, 24, 1, act=act))
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        return torch.flatten(self.pool(self.features(x)), 1)


def smooth():
    return Mobile(nn.SiLU)


def mobilenet_v3():
    return Mobile(nn.Hardswish, lambda width: Squeeze(width, nn.ReLU, nn.Hardsigmoid), 5)


def efficientnet():
    return Mobile(nn.SiLU, lambda width: Squeeze(width, nn.SiLU, nn.Sigmoid), 5)


class Basic(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.relu, self.down = nn.ReLU(), Unit(i, o, 1, stride) if stride != 1 or i != o else nn.Identity()

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + self.down(x))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8)
        self.relu, self.maxpool = nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        self.layer1, self.layer2 = nn.Sequential(Basic(8, 8, 1)), nn.Sequential(Basic(8, 12, 2), Basic(12, 12, 1))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(12, 16)

    def forward(self, x):
        x = self.layer2(self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x))))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class Imu(nn.Module):
    def __init__(self):
        super().__init__()
        layer = lambda i, o: nn.Sequential(nn.Conv1d(i, o, 5, 2, 2, bias=False), nn.BatchNorm1d(o), nn.ReLU())
        self.layers = nn.Sequential(layer(6, 12), layer(12, 16), layer(16, 24))

    def forward(self, x):
        return self.layers(x).mean(2)


class VitBlock(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm1, self.norm2, self.heads = nn.LayerNorm(dim), nn.LayerNorm(dim), heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def attention(self, x):
        b, t, d = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        a = (q @ k.transpose(-2, -1) * (d // self.heads) ** -0.5).softmax(-1)
        return self.proj((a @ v).transpose(1, 2).reshape(b, t, d))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Vit(nn.Module):
    def __init__(self, dim=16):
        super().__init__()
        self.patch = nn.Conv2d(3, dim, 8, 8)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 17, dim))
        self.blocks = nn.Sequential(VitBlock(dim, 2), VitBlock(dim, 2))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed
        return self.norm(self.blocks(x))[:, 0]


def spread(model):
    """Draws norms and tokens that are not the identity."""
    draw = lambda value, low, high: value.copy_(low + (high - low) * torch.rand(value.shape))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)):
                draw(module.weight, 0.7, 1.3)
                draw(module.bias, -0.3, 0.3)
        for name, parameter in model.named_parameters():
            if name in ("cls_token", "pos_embed"):
                draw(parameter, -0.5, 0.5)


def settle(model, shape):
    """Statistics near those of the views: by others, layer upon layer, embeddings would hardly differ, and their
    gradients be rounding."""
    norms = [m for m in model.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    with torch.no_grad():
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        model.train()(pattern((4 * BATCH, *shape), 0).float())
        for norm in norms:
            norm.momentum = 0.1
            norm.running_mean += 0.1 * norm.running_var.sqrt() * (2 * torch.rand(norm.running_mean.shape) - 1)
            norm.running_var *= 0.8 + 0.4 * torch.rand(norm.running_var.shape)


def export(name, build, shape):
    torch.manual_seed(1)
    model = build()
    spread(model)
    settle(model, shape)
    path = HERE / f"{name}.onnx"
    torch.onnx.export(model.eval(), (torch.zeros(2, *shape),), path, dynamo=False, opset_version=17,
                      training=torch.onnx.TrainingMode.TRAINING, do_constant_folding=False,
                      input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}})
    file = onnx.load(path)
    # Where a node came from in Python is most of the file, and of this machine.
    for node in file.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.save(file, path)
    return model.eval().double()


def head(width):
    layers = nn.Sequential(nn.Linear(width, HEAD), nn.ReLU(), nn.Linear(HEAD, HEAD)).double()
    for seed, (name, value) in enumerate(sorted(layers.named_parameters())):
        scale = (3 / value.shape[1]) ** 0.5 if value.dim() > 1 else 0.1
        value.data = single(scale * noise(value.shape, 50 + seed))
    return layers


def nt_xent(z):
    z, n = F.normalize(z, dim=1), z.shape[0]
    s = (z @ z.t() / TEMPERATURE).masked_fill(torch.eye(n, dtype=torch.bool), -torch.inf)
    return F.cross_entropy(s, torch.arange(n).roll(n // 2))


def shortened(gradient):
    flat = gradient.flatten()
    if len(flat) <= WHOLE:
        return gradient
    return torch.stack([flat.norm()] + [flat @ noise(flat.shape, 200 + k) for k in range(PRODUCTS)])


def whole_gradients(model, named, x):
    y = model(x)
    top = head(y.shape[1]).to(x.dtype)
    loss = nt_xent(top(y))
    named = dict(named) | {f"head.{k}": v for k, v in top.named_parameters()}
    return loss, dict(zip(named, torch.autograd.grad(loss, list(named.values()))))


def gradients(model, named, x, form):
    loss, found = whole_gradients(model, named, x)
    return {f"{form}/{k}": shortened(g) for k, g in found.items()} | {f"{form}/loss": loss.reshape(1)}


def write(name, tensors):
    arrays = {k: v.detach().float().contiguous().numpy() for k, v in tensors.items()}
    save_file(arrays, HERE / f"{name}.safetensors")


def golden(name, model, shape, forms=("folded", "affine", "statistics")):
    x = pattern((BATCH, *shape), 0)
    tensors = {}
    for form in forms:
        own = copy.deepcopy(model)
        own = fuse(own).requires_grad_() if form == "folded" else own.train(form == "statistics")
        tensors |= gradients(own, own.named_parameters(), x, form)
    write(name, tensors)


def errors(found, exact):
    """Median and largest over the weights, each relative to the weight's largest gradient."""
    largest = max(g.abs().max() for g in exact.values())
    each = [(found[k].double() - g).abs().max() / g.abs().max() for k, g in exact.items()
            if g.abs().max() > 1e-9 * largest]
    return torch.stack([torch.stack(each).median(), max(each)])


def large(model, shape, form):
    """Gradients of a large batch in float64, and how far those in float32 are off."""
    x = pattern((64, *shape), 0)
    train = lambda dtype: copy.deepcopy(model).to(dtype).train()
    double, lone = train(torch.float64), train(torch.float32)
    loss, exact = whole_gradients(double, double.named_parameters(), x)
    single_error = errors(whole_gradients(lone, lone.named_parameters(), x.float())[1], exact)
    print(form, "float32 against float64: median, largest", single_error.tolist())
    found = {f"{form}/{k}": shortened(g) for k, g in exact.items()}
    return found | {f"{form}/loss": loss.reshape(1), f"{form}/single": single_error}


def curve(model, shape, kind, lr, decay, dtype=torch.float64):
    model = copy.deepcopy(model).train()
    # Only the width is wanted: the running statistics must not see this batch.
    width = copy.deepcopy(model)(pattern((2, *shape), 0)).shape[1]
    model, top = model.to(dtype), head(width).to(dtype)
    parameters = [*model.parameters(), *top.parameters()]
    groups = [{"params": [p for p in parameters if p.dim() > 1], "weight_decay": decay},
              {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr) if kind == "adamw" else torch.optim.SGD(groups, lr=lr, momentum=0.9)
    losses = []
    for step in range(STEPS):
        loss = nt_xent(top(model(pattern((CURVE_BATCH, *shape), step).to(dtype))))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses)


def interpreted(path, dtype):
    """The graph of a MobileNetV2 as a function, and its weights."""
    graph = onnx.load(path).graph
    stored = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
    named = {k: v.to(dtype).requires_grad_() for k, v in stored.items() if v.is_floating_point() and v.numel() > 1}

    def run(x):
        values = {**stored, **named, graph.input[0].name: x}
        for node in graph.node:
            a = {i.name: onnx.helper.get_attribute_value(i) for i in node.attribute}
            i = [values[name] for name in node.input if name]
            if node.op_type == "Conv":
                pads = a["pads"][:2]
                y = F.conv2d(*i, stride=a["strides"], padding=pads, dilation=a["dilations"], groups=a["group"])
            elif node.op_type == "Clip":
                y = i[0].clamp(0, 6)
            elif node.op_type == "Add":
                y = i[0] + i[1]
            elif node.op_type in ("GlobalAveragePool", "ReduceMean"):
                y = i[0].mean((2, 3), keepdim=node.op_type == "GlobalAveragePool" or a.get("keepdims", 1) == 1)
            elif node.op_type == "Flatten":
                y = i[0].flatten(1)
            elif node.op_type == "Constant":
                y = torch.from_numpy(numpy_helper.to_array(a["value"]).copy())
            elif node.op_type == "Identity":
                y = i[0]
            else:
                raise ValueError(node.op_type)
            values[node.output[0]] = y
        return values[graph.output[0].name]

    return run, named


def main():
    torch.set_num_threads(1)
    HERE.mkdir(exist_ok=True)
    cnn = export("cnn", Mobile, (3, 64, 64))
    golden("cnn", cnn, (3, 64, 64))
    golden("cnn96", cnn, (3, 96, 96))
    golden("resnet", export("resnet", ResNet, (3, 64, 64)), (3, 64, 64))
    imu = export("imu", Imu, (6, 64))
    golden("imu", imu, (6, 64))
    vit = export("vit", Vit, (3, 32, 32))
    golden("vit", vit, (3, 32, 32), ("affine",))
    golden("mobilenetv3", export("mobilenetv3", mobilenet_v3, (3, 48, 48)), (3, 48, 48))
    golden("efficientnet", export("efficientnet", efficientnet, (3, 48, 48)), (3, 48, 48))
    soft = export("smooth", smooth, (3, 64, 64))
    nets = {"kinked": cnn, "smooth": soft}
    tensors = {}
    for name, size in [(name, size) for name in nets for size in (64, 96)]:
        tensors |= large(nets[name], (3, size, size), f"{name}{size}")
    write("large", tensors)
    sgd = ("sgd", 0.01, 1e-4)
    curves = {"smooth": curve(soft, (3, 64, 64), *sgd), "imu": curve(imu, (6, 64), *sgd),
              "vit": curve(vit, (3, 32, 32), "adamw", 1e-3, 1e-2), "cnn": curve(cnn, (3, 64, 64), *sgd),
              "cnn_single": curve(cnn, (3, 64, 64), *sgd, torch.float32)}
    for name, losses in curves.items():
        print(name, [round(v, 3) for v in losses[::9].tolist()])
    write("curves", curves)
    print("cnn: float32 parts from float64 by", (curves["cnn"] - curves["cnn_single"]).abs().max().item())
    if len(sys.argv) > 1:
        x = pattern((4, 3, 224, 224), 0)
        loss, exact = whole_gradients(*interpreted(sys.argv[1], torch.float64), x)
        single_error = errors(whole_gradients(*interpreted(sys.argv[1], torch.float32), x.float())[1], exact)
        print("mobilenet_v2 float32 against float64: median, largest", single_error.tolist())
        found = {f"folded/{k}": shortened(g) for k, g in exact.items()}
        write("mobilenet_v2", found | {"folded/loss": loss.reshape(1)})


if __name__ == "__main__":
    main()
