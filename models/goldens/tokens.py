"""Goldens of whole training steps from PyTorch in float64 for the objectives that read tokens.

Each encoder is written here twice, as a module and as an ONNX graph of the same weights, which is stored
beside the values: patches of which `keep` keeps some, tokens of an image and of a window, bytes. Every
loss is written as its paper states it. Three steps of SGD with momentum; inputs, initial state, losses and
the state after the first and the third are written. Run: python tokens.py (torch, safetensors, onnx).
"""
import math, os
import numpy as np, onnx, torch, torch.nn as nn, torch.nn.functional as F
from onnx import TensorProto, helper as h, numpy_helper
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
torch.set_default_dtype(torch.float64)


class Encoder(nn.Module):
    """Tokens: a hyperbolic tangent of a linear map of cells, twice; the embedding is their mean."""

    def __init__(s, kind, width, inner=6):
        super().__init__()
        s.kind = kind
        s.first, s.second = nn.Parameter(torch.randn(width, inner) / width**0.5), nn.Parameter(torch.randn(inner, inner))

    def cells(s, x):
        if s.kind == "image":  # 4 x 4
            b, c, y, z = x.shape
            return x.reshape(b, c, y // 4, 4, z // 4, 4).permute(0, 2, 4, 1, 3, 5).reshape(b, -1, c * 16)
        if s.kind == "window":  # 4
            b, c, t = x.shape
            return x.reshape(b, c, t // 4, 4).permute(0, 2, 1, 3).reshape(b, t // 4, -1)
        return F.one_hot(x.long(), s.first.shape[0]).double()

    def forward(s, x, keep=None):
        x = s.cells(x)
        x = x if keep is None else keep @ x
        tokens = torch.tanh(torch.tanh(x @ s.first) @ s.second)
        return tokens.mean(1), tokens

    def onnx(s, x, keep, name):
        shape, nodes, init, value = list(x.shape), [], [], "x"

        def node(op, inputs, **attributes):
            out = f"v{len(nodes)}"
            nodes.append(h.make_node(op, inputs, [out], **attributes))
            return out

        def constant(array, name=None):
            name = name or f"c{len(init)}"
            init.append(numpy_helper.from_array(np.asarray(array), name))
            return name

        reshape = lambda v, to: node("Reshape", [v, constant(np.array(to, np.int64))])
        if s.kind == "image":
            b, c, y, z = shape
            value = reshape(value, [b, c, y // 4, 4, z // 4, 4])
            value = reshape(node("Transpose", [value], perm=[0, 2, 4, 1, 3, 5]), [b, y * z // 16, c * 16])
        elif s.kind == "window":
            b, c, t = shape
            value = reshape(value, [b, c, t // 4, 4])
            value = reshape(node("Transpose", [value], perm=[0, 2, 1, 3]), [b, t // 4, c * 4])
        else:
            classes = s.first.shape[0]
            value = reshape(value, shape + [1])
            ramp = constant(np.arange(classes, dtype=np.float32).reshape(1, 1, classes))
            value = node("Min", [node("Abs", [node("Sub", [value, ramp])]), constant(np.float32(1))])
            value = node("Sub", [constant(np.float32(1)), value])
        if keep is not None:
            value = node("MatMul", ["keep", value])
        for weight in ("first", "second"):
            w = constant(getattr(s, weight).detach().float().numpy(), weight)
            value = node("Tanh", [node("MatMul", [value, w])])
        nodes.append(h.make_node("ReduceMean", [value], ["embedding"], axes=[1], keepdims=0))
        nodes.append(h.make_node("Identity", [value], ["tokens"]))
        info = lambda n, t: h.make_tensor_value_info(n, TensorProto.FLOAT, list(t))
        inputs = [info("x", shape)] + ([] if keep is None else [info("keep", keep.shape)])
        embedding, tokens = s.forward(x, keep)
        outputs = [info("embedding", embedding.shape), info("tokens", tokens.shape)]
        model = h.make_model(h.make_graph(nodes, "encoder", inputs, outputs, init), opset_imports=[h.make_opsetid("", 17)])
        model.ir_version = 8
        onnx.checker.check_model(model)
        onnx.save(model, f"{HERE}/{name}.onnx")


class Attention(nn.Module):
    def __init__(s, width, heads):
        super().__init__()
        s.heads = heads
        s.q, s.k, s.v, s.proj = (nn.Linear(width, width) for _ in range(4))

    def forward(s, x, causal):
        b, n, w = x.shape
        q, k, v = (f(x).reshape(b, n, s.heads, w // s.heads).transpose(1, 2) for f in (s.q, s.k, s.v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return s.proj(y.transpose(1, 2).reshape(b, n, w))


class Block(nn.Module):
    def __init__(s, width, heads):
        super().__init__()
        s.norm1, s.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        s.attn = Attention(width, heads)
        s.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(s, x, causal):
        x = x + s.attn(s.norm1(x), causal)
        return x + s.mlp["fc2"](F.gelu(s.mlp["fc1"](s.norm2(x))))


class Transformer(nn.Module):
    def __init__(s, into, width, depth, heads):
        super().__init__()
        s.embed = nn.Linear(into, width)
        s.blocks = nn.ModuleList([Block(width, heads) for _ in range(depth)])
        s.norm = nn.LayerNorm(width, 1e-6)

    def run(s, x, causal):
        for b in s.blocks:
            x = b(x, causal)
        return s.norm(x)


def sines(width, places):
    """get_1d_sincos_pos_embed_from_grid of the code of He et al. 2022."""
    omega = 1.0 / 10000 ** (torch.arange(width // 2) / (width / 2))
    out = torch.outer(places.double(), omega)
    return torch.cat([out.sin(), out.cos()], 1)


def image_positions(width, rows, columns):
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.cat([sines(width // 2, x.flatten()), sines(width // 2, y.flatten())], 1)


class Decoder(Transformer):
    def __init__(s, into, width, depth, heads, values):
        super().__init__(into, width, depth, heads)
        s.mask_token = nn.Parameter(torch.randn(width))
        s.predict = nn.Linear(width, values)


class Context(Transformer):
    def __init__(s, into, width, depth, heads, steps):
        super().__init__(into, width, depth, heads)
        s.ahead = nn.ParameterList([nn.Parameter(torch.randn(into, width) / width**0.5) for _ in range(steps)])


def autoencoder(net, d, x, keep, normalise):
    seen = d.embed(net(x, keep)[1])
    b, n, w = len(x), keep.shape[2], seen.shape[2]
    places = [row.argmax(1).tolist() for row in keep]
    grid = d.mask_token.expand(b, n, w).clone()
    for i in range(b):
        grid[i, places[i]] = seen[i]
    y = d.predict(d.run(grid + image_positions(w, x.shape[2] // 4, x.shape[3] // 4), False))
    target = net.cells(x)
    if normalise:
        target = (target - target.mean(2, keepdim=True)) / (target.var(2, keepdim=True) + 1e-6).sqrt()
    mask = torch.ones(b, n)
    for i in range(b):
        mask[i, places[i]] = 0
    return (((y - target) ** 2).mean(2) * mask).sum() / mask.sum()


def coding(net, c, x):
    z = net(x)[1]
    b, n, _ = z.shape
    past = c.run(c.embed(z) + sines(c.embed.out_features, torch.arange(n)), True)
    losses = []
    for k, weight in enumerate(c.ahead, 1):
        total = []
        for i in range(b):
            for t in range(n - k):
                predicted = weight @ past[i, t]
                others = [z[j, t + k] for j in range(b) if j != i] + [z[i, u] for u in range(n) if u != t + k]
                scores = torch.stack([z[i, t + k], *others]) @ predicted
                total.append(-F.log_softmax(scores, 0)[0])
        losses.append(torch.stack(total).mean())
    return torch.stack(losses).mean()


def golden(name, net, x, part, prefix, loss_of, extra, keep=None):
    out = {"views": x, **extra}
    if keep is not None:
        out["keep"] = keep
    net.onnx(x, keep, name)
    ahead = lambda k: f"head.ahead.{int(k.split('.')[1]) + 1}.weight" if k.startswith("ahead.") else prefix + k
    trained = dict(net.named_parameters()) | {ahead(k): p for k, p in part.named_parameters()}
    out |= {f"initial/{k}": p.detach().clone() for k, p in trained.items()}
    opt = torch.optim.SGD(trained.values(), lr=0.05, momentum=0.9)
    for step in range(3):
        opt.zero_grad()
        loss = loss_of()
        loss.backward()
        opt.step()
        out[f"loss/{step}"] = loss.detach().reshape(1)
        if step in (0, 2):
            out |= {f"after{step}/{k}": p.detach().clone() for k, p in trained.items()}
            out |= {f"after{step}/{k}/momentum": opt.state[p]["momentum_buffer"].clone() for k, p in trained.items()}
    save_file({k: v.detach().float().contiguous() for k, v in out.items()}, f"{HERE}/{name}.safetensors")


if __name__ == "__main__":
    torch.manual_seed(7)
    x = torch.randn(4, 3, 8, 12)
    keep = torch.stack([F.one_hot(torch.randperm(6)[:2], 6).double() for _ in range(4)])
    for normalise in (True, False):
        net, d = Encoder("image", 48), Decoder(6, 16, 2, 2, 48)
        name = f"tokens_autoencoder_{'normalised' if normalise else 'plain'}"
        golden(name, net, x, d, "head.decoder.", lambda: autoencoder(net, d, x, keep, normalise), {}, keep)

    targets, mask = torch.randn_like(x), (torch.rand_like(x) < 0.4).double()
    net, d = Encoder("image", 48), nn.Linear(6, 48)

    def simmim():
        cells = d(net(x)[1]).reshape(4, 2, 3, 48).permute(0, 3, 1, 2)
        error = (F.pixel_shuffle(cells, 4) - targets).abs() * mask
        return (error.sum((1, 2, 3)) / mask.sum((1, 2, 3))).mean()

    golden("tokens_modelling", net, x, d, "head.decoder.", simmim, {"targets": targets, "mask": mask})

    x = torch.randn(3, 6, 24)
    net, c = Encoder("window", 24), Context(6, 8, 2, 2, 2)
    golden("tokens_coding", net, x, c, "head.context.", lambda: coding(net, c, x), {})

    x = torch.randint(0, 11, (4, 9)).double()
    net = Encoder("bytes", 11)
    p = nn.ModuleDict({"token": nn.Linear(6, 11), "follows": nn.Linear(6, 1)})
    targets, mask = torch.randint(0, 11, (4, 9)), (torch.rand(4, 9) < 0.5).double()
    follows = torch.tensor([[1.0], [0.0], [0.0], [1.0]])

    def bert():
        embedding, tokens = net(x)
        each = F.cross_entropy(p["token"](tokens).flatten(0, 1), targets.flatten(), reduction="none")
        chosen = each[mask.flatten() == 1].mean()
        return chosen + F.binary_cross_entropy_with_logits(p["follows"](embedding), follows)

    golden("tokens_bytes", net, x, p, "head.", bert, {"targets": targets.double(), "mask": mask, "follows": follows})
