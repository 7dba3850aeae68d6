"""Encoders of our architectures as PyTorch exports them: batch norms folded into nameless arrays. From weights and
running statistics far from the initial ones, with a few inputs and the embeddings that PyTorch gives them.
Run: python start.py (torch, onnx, safetensors).
"""
import os, warnings
import torch
from safetensors.torch import save_file

from training_step import Image, Imu

HERE = os.path.dirname(os.path.abspath(__file__))
torch.set_default_dtype(torch.float32)

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.manual_seed(11)
    for name, net, shape in (("image", Image(), (3, 10, 8)), ("imu", Imu(), (6, 20))):
        for parameter in net.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
        net.train()
        for _ in range(30):
            net(0.5 + 2 * torch.randn(16, *shape))
        net.eval()
        x = torch.randn(8, *shape)
        with torch.no_grad():
            y = net(x)
        torch.onnx.export(net, x, f"{HERE}/start_{name}.onnx", input_names=["image"], output_names=["pooled"], opset_version=17, dynamo=False)
        save_file({"x": x, "y": y}, f"{HERE}/start_{name}.safetensors")
