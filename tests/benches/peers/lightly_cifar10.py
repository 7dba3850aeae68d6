"""Pretrains Sedge's small image nets with lightly (lightly-ai/lightly) on CIFAR-10, for `sedge evaluate --onnx`.

    python lightly_cifar10.py METHOD CIFAR10-FOLDER OUT.onnx [--epochs 10] [--limit 25000] [--lr 0.001]

METHOD is simclr, mocov2, rotation or mae. Network, batch, optimiser, schedule, heads, augmentations and
temperature are those that `sedge compare host/configs/compare-images.toml` has for the method; losses, queue,
momentum, masking and transforms are lightly's. lightly has no rotation loss: cross entropy stands for it. mae
trains lightly's transformer, which has a class token beside the patches; its embedding is the patches' mean.
Weights begin as PyTorch draws them. Needs torch, torchvision, timm, lightly, pyarrow and onnx.
"""

import argparse
import copy
import io
import math
import time
import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import torch
import torch.nn.functional as F
import torchvision.transforms as T
from lightly.loss import NTXentLoss
from lightly.models import utils
from lightly.models.modules import MoCoProjectionHead, SimCLRProjectionHead
from lightly.transforms import MAETransform, SimCLRTransform
from PIL import Image
from torch import nn

from nets import InvertedResidual, convolution

warnings.filterwarnings("ignore")
BATCH, SIDE = 128, 32
TEMPERATURE = {"simclr": 0.5, "mocov2": 0.2}
SIMCLR_OUT = 32
QUEUE, MOMENTUM, MOCO_HIDDEN, MOCO_OUT = 4096, 0.99, 256, 64
MASK_RATIO = 0.75


class ImageTiny(nn.Module):
    """`image-tiny`: a stem of stride 2, four inverted residuals, a pointwise layer and the mean."""

    width = 64

    def __init__(self):
        super().__init__()
        self.stem = convolution(3, 8, 3, 2)
        sizes = [(8, 16, 2), (16, 24, 2), (24, 32, 2), (32, 32, 1)]
        self.blocks = nn.Sequential(*[InvertedResidual(*size, 3, True) for size in sizes])
        self.last = convolution(32, 64, 1)

    def forward(self, x):
        return F.relu6(self.last(self.blocks(F.relu6(self.stem(x))))).mean((2, 3))


class SimClr(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = ImageTiny()
        width = self.encoder.width
        self.head = SimCLRProjectionHead(width, width, SIMCLR_OUT, num_layers=2, batch_norm=False)
        self.loss = NTXentLoss(TEMPERATURE["simclr"])

    def forward(self, views):
        first, second = (self.head(self.encoder(view)) for view in views)
        return self.loss(first, second)


class Moco(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = ImageTiny()
        self.head = MoCoProjectionHead(self.encoder.width, MOCO_HIDDEN, MOCO_OUT)
        self.teacher, self.teacher_head = copy.deepcopy(self.encoder), copy.deepcopy(self.head)
        utils.deactivate_requires_grad(self.teacher)
        utils.deactivate_requires_grad(self.teacher_head)
        self.loss = NTXentLoss(TEMPERATURE["mocov2"], memory_bank_size=(QUEUE, MOCO_OUT))

    def forward(self, views):
        utils.update_momentum(self.encoder, self.teacher, MOMENTUM)
        utils.update_momentum(self.head, self.teacher_head, MOMENTUM)
        query = self.head(self.encoder(views[0]))
        with torch.no_grad():
            key = self.teacher_head(self.teacher(views[1]))
        return self.loss(query, key)


class Rotation(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = ImageTiny()
        self.head = nn.Linear(self.encoder.width, 4)

    def forward(self, views):
        turned = torch.cat([torch.rot90(views[0], turns, (2, 3)) for turns in range(4)])
        wanted = torch.arange(4).repeat_interleave(len(views[0]))
        return F.cross_entropy(self.head(self.encoder(turned)), wanted)


class PatchMean(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, images):
        return self.backbone.vit.forward_features(images)[:, 1:].mean(1)


class Mae(nn.Module):
    """`vit-tiny` (patches of 4, 4 blocks of width 128) and a decoder of 2 blocks of width 64."""

    def __init__(self):
        super().__init__()
        from lightly.models.modules import MAEDecoderTIMM, MaskedVisionTransformerTIMM
        from timm.models.vision_transformer import VisionTransformer

        vit = VisionTransformer(
            img_size=SIDE, patch_size=4, embed_dim=128, depth=4, num_heads=4, num_classes=0, global_pool="avg", fc_norm=False
        )
        self.backbone = MaskedVisionTransformerTIMM(vit)
        self.decoder = MAEDecoderTIMM(
            num_patches=vit.patch_embed.num_patches,
            patch_size=4,
            embed_dim=128,
            decoder_embed_dim=64,
            decoder_depth=2,
            decoder_num_heads=4,
            mlp_ratio=4.0,
        )
        self.encoder = PatchMean(self.backbone)

    def forward(self, views):
        images = views[0]
        length = self.backbone.sequence_length
        keep, mask = utils.random_token_mask((len(images), length), mask_ratio=MASK_RATIO)
        tokens = self.decoder.embed(self.backbone.encode(images=images, idx_keep=keep))
        full = utils.repeat_token(self.decoder.mask_token, (len(images), length))
        full = utils.set_at_index(full, keep, tokens.type_as(full))
        found = self.decoder.predict(utils.get_at_index(self.decoder.decode(full), mask))
        wanted = utils.get_at_index(utils.patchify(images, 4), mask - 1)
        wanted = (wanted - wanted.mean(-1, keepdim=True)) / (wanted.var(-1, keepdim=True) + 1e-6).sqrt()
        return F.mse_loss(found, wanted)


METHODS = {"simclr": SimClr, "mocov2": Moco, "rotation": Rotation, "mae": Mae}


class Images(torch.utils.data.Dataset):
    def __init__(self, images, transform):
        self.images, self.transform = images, transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.images[index]))


def read(folder, limit):
    images = []
    for file in sorted(Path(folder).glob("train-*.parquet")):
        column = parquet.read_table(file, columns=["img"]).column("img")
        for record in column.to_pylist():
            images.append(np.asarray(Image.open(io.BytesIO(record["bytes"])).convert("RGB")))
            if len(images) == limit:
                return np.stack(images)
    return np.stack(images)


def transform_of(method, images):
    pixels = images.reshape(-1, 3).astype(np.float64) / 255
    normalize = {"mean": pixels.mean(0).tolist(), "std": pixels.std(0).tolist()}
    if method in ("simclr", "mocov2"):
        return SimCLRTransform(SIDE, cj_strength=0.5, gaussian_blur=0.0, normalize=normalize)
    return MAETransform(SIDE, min_scale=0.2, normalize=normalize)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("method", choices=METHODS)
    args.add_argument("data")
    args.add_argument("out")
    args.add_argument("--epochs", type=int, default=10)
    args.add_argument("--limit", type=int, default=25000)
    args.add_argument("--lr", type=float, default=1e-3)
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--threads", type=int, default=1)
    args = args.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    images = read(args.data, args.limit)
    model = METHODS[args.method]().to(memory_format=torch.channels_last)
    print(sum(p.numel() for p in model.encoder.parameters()), "parameters in the encoder")
    loader = torch.utils.data.DataLoader(
        Images(images, transform_of(args.method, images)), BATCH, shuffle=True, drop_last=True, num_workers=1
    )
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, args.lr, weight_decay=0.01)
    total, warmup = args.epochs * len(loader), len(loader)

    def rate(step):
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    began = time.time()
    for epoch in range(args.epochs):
        losses = []
        for views in loader:
            views = [view.to(memory_format=torch.channels_last) for view in views]
            loss = model(views)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}/{args.epochs}  loss {np.mean(losses):.4f}  {time.time() - began:.0f} s", flush=True)
    torch.onnx.export(
        model.encoder.eval().to(memory_format=torch.contiguous_format),
        (torch.zeros(1, 3, SIDE, SIDE),),
        args.out,
        dynamo=False,
        opset_version=17,
        input_names=["image"],
        output_names=["embedding"],
    )


if __name__ == "__main__":
    main()
