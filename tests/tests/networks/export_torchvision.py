"""Exports one of torchvision's networks and writes its gradients in float64, for the test beside it:
export_torchvision.py GOLDENS NAME legacy|dynamo ENCODER.onnx GRADIENTS.safetensors

Weights are drawn, not fetched. GOLDENS holds `networks.py`, whose inputs, loss and head are used here too.
"""

import sys
import warnings

warnings.filterwarnings("ignore")
goldens, name, exporter, path, out = sys.argv[1:]
sys.path.insert(0, goldens)

import torch
import torchvision
from networks import fuse, gradients, settle, spread
from networks import pattern
from safetensors.numpy import save_file
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer

SIZE, BATCH = 64, 4


def build():
    if name == "vision_transformer":
        return VisionTransformer(SIZE, 16, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=16)
    return torchvision.models.get_model(name, weights=None)


def main():
    torch.manual_seed(1)
    torch.set_num_threads(1)
    model = build()
    for module in model.modules():
        # What it drops is drawn anew each time; a gradient to compare has to be one.
        if isinstance(module, (nn.Dropout, torchvision.ops.StochasticDepth)):
            module.p = 0.0
    # A linear head that begins at zero would give no gradient to what is before it.
    for parameter in model.parameters():
        if parameter.abs().max() == 0:
            nn.init.normal_(parameter, std=0.1)
    spread(model)
    settle(model, (3, SIZE, SIZE))
    model.eval()
    x = torch.zeros(2, 3, SIZE, SIZE)
    if exporter == "dynamo":
        shapes = ({0: torch.export.Dim("batch")},)
        program = torch.onnx.export(model, (x,), dynamo=True, dynamic_shapes=shapes, verbose=False)
        program.save(path, external_data=False)
    else:
        # Training mode keeps batch norms apart, but exports what drops and a slow path of attention as well.
        keep = not isinstance(model, VisionTransformer)
        mode = torch.onnx.TrainingMode.PRESERVE if keep else torch.onnx.TrainingMode.EVAL
        torch.onnx.export(model, (x,), path, dynamo=False, opset_version=17, training=mode,
                          do_constant_folding=not keep, input_names=["x"], output_names=["y"],
                          dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}})
    fused = fuse(model) if not isinstance(model, VisionTransformer) else model
    fused = fused.double().requires_grad_()
    found = gradients(fused, fused.named_parameters(), pattern((BATCH, 3, SIZE, SIZE), 0), "folded")
    save_file({k: v.detach().float().contiguous().numpy() for k, v in found.items()}, out)


main()
