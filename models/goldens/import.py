"""Writes the encoders in import/ that the importer is tested with, as PyTorch's two exporters write them,
and what PyTorch says they compute.

    pip install torch==2.15.0 onnx==1.23.2 onnxscript==0.7.2 safetensors==0.8.0 && python import.py

For every encoder `<name>.onnx` there is `<name>.safetensors`: a batch of four in `input`; its embedding
`output`; `by_batch`, the embedding by the statistics of the batch, and the running statistics after that;
and `changed`, the embedding by the old statistics once `change` has moved every parameter.
"""

import copy
import pathlib
import warnings

import onnx
import torch
from safetensors.numpy import save_file
from torch import nn

warnings.filterwarnings("ignore")
HERE = pathlib.Path(__file__).parent / "import"
BATCH = 4


class SmallCnn(nn.Module):
    """Convolution, batch norm, rectifier, three times, and a mean; all of one width, so that shapes tell
    no two layers apart."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6()),
            nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6()),
            nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.Dropout(0.1)),
        )

    def forward(self, x):
        return self.features(x).mean([2, 3])


class Tied(nn.Module):
    """Two linear layers that begin equal; the legacy exporter stores them once, through Identity."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(6, 8)
        self.first = nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)
        self.second = nn.Linear(8, 8)
        self.second.load_state_dict(self.first.state_dict())

    def forward(self, x):
        x = torch.tanh(self.stem(x))
        x = self.norm(torch.tanh(self.first(x)))
        return self.second(x).mean(1)


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        a = (q @ k.transpose(-2, -1) * (d // self.heads) ** -0.5).softmax(-1)
        return self.proj((a @ v).transpose(1, 2).reshape(b, t, d))


class VitBlock(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TinyVit(nn.Module):
    """Patches, class token, positional embedding, two blocks; gives every token."""

    def __init__(self, dim=16):
        super().__init__()
        self.patch = nn.Conv2d(3, dim, 4, 4)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 17, dim))
        self.blocks = nn.Sequential(VitBlock(dim, 2), VitBlock(dim, 2))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed
        return self.norm(self.blocks(x))


class SequenceFirst(nn.Module):
    """PyTorch's own attention, which turns the batch inside out."""

    def __init__(self, dim=16):
        super().__init__()
        self.embed = nn.Linear(3, dim)
        self.attention = nn.MultiheadAttention(dim, 2, batch_first=True)
        self.out = nn.Linear(dim, dim)

    def forward(self, x):
        x = self.embed(x)
        return self.out(x + self.attention(x, x, x, need_weights=False)[0])


class Basic(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(o)
        self.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(o)
        self.down = None
        if stride != 1 or i != o:
            self.down = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (self.down(x) if self.down else x))


class TinyResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Basic(8, 8, 1), Basic(8, 8, 1))
        self.layer2 = nn.Sequential(Basic(8, 12, 2))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(12, 10)

    def forward(self, x):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        x = self.avgpool(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(x, 1))


class Windows(nn.Module):
    """One-dimensional, with batch norm behind a linear layer at the end."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(6, 8, 5, 2, 2), nn.BatchNorm1d(8), nn.ReLU(),
            nn.Conv1d(8, 8, 5, 2, 2), nn.BatchNorm1d(8), nn.ReLU(),
        )
        self.head = nn.Linear(8 * 8, 8)
        self.norm = nn.BatchNorm1d(8)

    def forward(self, x):
        return self.norm(self.head(self.net(x).reshape(x.shape[0], -1)))


class SqueezeExcite(nn.Module):
    """MobileNetV3's block: squeeze and excitation, hard swish."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 5, 1, 2, groups=8, bias=False), nn.BatchNorm2d(8))
        self.fc1 = nn.Conv2d(8, 4, 1)
        self.fc2 = nn.Conv2d(4, 8, 1)
        self.project = nn.Sequential(nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8))
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        x = self.stem(x)
        y = nn.functional.hardswish(self.depthwise(x))
        s = nn.functional.hardsigmoid(self.fc2(torch.relu(self.fc1(self.pool(y)))))
        return self.pool(x + self.project(y * s))


class ChannelsLast(nn.Module):
    """Takes and keeps channels last, with its kernels stored so too, as TensorFlow's exporter writes."""

    def __init__(self):
        super().__init__()
        self.kernel1 = nn.Parameter(0.2 * torch.randn(3, 3, 3, 8))
        self.bias1 = nn.Parameter(torch.zeros(8))
        self.kernel2 = nn.Parameter(0.2 * torch.randn(3, 3, 8, 8))
        self.dense = nn.Parameter(0.2 * torch.randn(8, 8))

    def forward(self, x):
        for kernel, bias in ((self.kernel1, self.bias1), (self.kernel2, None)):
            x = nn.functional.conv2d(x.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), stride=2, padding=1)
            x = x.permute(0, 2, 3, 1)
            x = torch.relu(x if bias is None else x + bias)
        return x.mean([1, 2]) @ self.dense


def spread(model, seed):
    """Draws norms and statistics that are not the identity."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda shape, low, high: low + (high - low) * torch.rand(shape, generator=generator)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)):
                module.weight.copy_(draw(module.weight.shape, 0.5, 1.5))
                module.bias.copy_(draw(module.bias.shape, -0.5, 0.5))
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.running_mean.copy_(draw(module.running_mean.shape, -0.3, 0.3))
                module.running_var.copy_(draw(module.running_var.shape, 0.5, 2.0))
        for name, parameter in model.named_parameters():
            if name in ("cls_token", "pos_embed"):
                parameter.copy_(draw(parameter.shape, -0.5, 0.5))


def change(model):
    """Moves the value at row-major position i of the parameter `name` by 0.05 cos(i + bytes of the name), so
    that no two parameters move alike."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            at = torch.arange(parameter.numel(), dtype=torch.float64).reshape(parameter.shape)
            parameter.add_((0.05 * torch.cos(at + sum(name.encode()))).to(parameter.dtype))


def golden(name, model, shape, embed=lambda y: y, lay=lambda x: x):
    model.eval()
    x = torch.rand(BATCH, *shape, generator=torch.Generator().manual_seed(7)) * 2 - 1
    tensors = {"input": lay(x)}
    x = x.to(next(model.parameters()).dtype)
    tensors["output"] = embed(model(x))
    by_batch = copy.deepcopy(model).train()
    for module in by_batch.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    tensors["by_batch"] = embed(by_batch(x))
    tensors |= {name: value for name, value in by_batch.state_dict().items() if "running_" in name}
    change(model)
    tensors["changed"] = embed(model(x))
    tensors = {name: value.detach().float().contiguous().numpy() for name, value in tensors.items()}
    save_file(tensors, HERE / f"{name}.safetensors")


def export(name, build, shape, batch=1, keep_norm=False, dynamo=False, dynamic=False, identity_norm=False,
           dtype=torch.float32, edit=None, opset=17, **rest):
    torch.manual_seed(1)
    model = build().to(dtype)
    if not identity_norm:
        spread(model, 2)
    model.eval()
    x = torch.zeros(batch, *shape, dtype=dtype)
    path = HERE / f"{name}.onnx"
    common = dict(input_names=["x"], output_names=["y"])
    if dynamo:
        shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
        program = torch.onnx.export(model, (x,), dynamo=True, dynamic_shapes=shapes, verbose=False, **common)
        program.save(path)
    else:
        mode = torch.onnx.TrainingMode.TRAINING if keep_norm else torch.onnx.TrainingMode.EVAL
        axes = {"x": {0: "batch"}, "y": {0: "batch"}} if dynamic else None
        torch.onnx.export(model, (x,), path, dynamo=False, training=mode, opset_version=opset,
                          do_constant_folding=not keep_norm, dynamic_axes=axes, **common)
    file = onnx.load(path)
    # Where a node came from in Python is most of the file, and of this machine.
    for node in file.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del file.graph.metadata_props[:]
    del file.graph.value_info[:]
    if edit:
        edit(file)
    onnx.checker.check_model(file)
    onnx.save(file, path)
    golden(name, model, shape, **rest)


def list_initializers_as_inputs(file):
    """As exporters did before IR version 4."""
    for tensor in file.graph.initializer:
        file.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))


def initializers_to_constants(file):
    tensors = list(file.graph.initializer)
    del file.graph.initializer[:]
    for tensor in reversed(tensors):
        file.graph.node.insert(0, onnx.helper.make_node("Constant", [], [tensor.name], value=tensor))


first = lambda y: y[:, 0]
flat = lambda y: y.flatten(1)
tokens = lambda y: y.mean(1)
HERE.mkdir(exist_ok=True)
export("cnn_norm", SmallCnn, (3, 16, 16), keep_norm=True)
export("cnn_folded", SmallCnn, (3, 16, 16))
export("cnn_dynamo", SmallCnn, (3, 16, 16), dynamo=True, dynamic=True)
export("tied", Tied, (5, 6))
export("tied_dynamo", Tied, (5, 6), dynamo=True)
export("vit", TinyVit, (3, 16, 16), embed=first)
export("vit_dynamic", TinyVit, (3, 16, 16), dynamic=True, embed=first, opset=14)
export("vit_dynamo", TinyVit, (3, 16, 16), dynamo=True, embed=first)
export("sequence_first", SequenceFirst, (5, 3), batch=2, embed=tokens)
export("sequence_first_single", SequenceFirst, (5, 3), embed=tokens)
export("resnet", TinyResNet, (3, 16, 16), keep_norm=True, identity_norm=True)
export("windows", Windows, (6, 32), batch=2, keep_norm=True, edit=list_initializers_as_inputs)
export("windows_constants", Windows, (6, 32), edit=initializers_to_constants)
export("squeeze_excite", SqueezeExcite, (3, 16, 16), keep_norm=True, embed=flat)
export("channels_last", ChannelsLast, (12, 12, 3), keep_norm=True, lay=lambda x: x.permute(0, 3, 1, 2))
export("double", SmallCnn, (3, 16, 16), keep_norm=True, dtype=torch.float64)
