"""IResNet of ArcFace and its MLA variant in PyTorch."""

import torch
from torch import nn

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3),
          200: (6, 26, 60, 6)}


class Gamma(nn.Module):
    """A learnable factor."""

    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((1,), 0.5))

    def forward(self, x):
        return self.gamma * x


class ChannelAttention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.fc = nn.Sequential(nn.Conv2d(channels, channels // 16, 1, bias=False), nn.ReLU(),
                                nn.Conv2d(channels // 16, channels, 1, bias=False))
        self.lf = Gamma()

    def forward(self, x):
        mean = self.fc(x.mean((2, 3), keepdim=True))
        peak = self.fc(x.amax((2, 3), keepdim=True))
        return torch.sigmoid(mean + self.lf(peak)) * x


class SpatialAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x):
        maps = torch.cat((x.mean(1, keepdim=True), x.amax(1, keepdim=True)), 1)
        return torch.sigmoid(self.conv1(maps)) * x


class HybridAttention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.ca = ChannelAttention(channels)
        self.sa = SpatialAttention()

    def forward(self, x):
        return self.sa(self.ca(x))


class Block(nn.Module):
    def __init__(self, cin, channels, stride, mla):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(cin)
        self.conv1 = nn.Conv2d(cin, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.prelu = nn.PReLU(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(cin, channels, 1, stride, bias=False),
                                            nn.BatchNorm2d(channels))
        self.attn = HybridAttention(channels) if mla else None

    def forward(self, x):
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        y = self.bn3(self.conv2(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        if self.attn is None:
            return y + shortcut
        return torch.relu(self.attn(y) + shortcut)


class PatchAttention(nn.Module):
    """Single-head attention over the 7x7 patches of the image, scores clamped to [-1, 1]."""

    def __init__(self):
        super().__init__()
        self.conv1_ = nn.Conv2d(3, 512, 16, 16, bias=False)
        self.query_conv = nn.Conv2d(512, 64, 1)
        self.key_conv = nn.Conv2d(512, 64, 1)
        self.value_conv = nn.Conv2d(512, 512, 1)

    def forward(self, image):
        x = self.conv1_(image)
        q, k, v = (f(x).flatten(2) for f in (self.query_conv, self.key_conv, self.value_conv))
        scores = torch.bmm(q.transpose(1, 2), k).clamp(-1, 1)
        out = torch.bmm(v, torch.softmax(scores, -1).transpose(1, 2))
        return out.unflatten(2, (7, 7))


class IResNet(nn.Module):
    """[N, 3, 112, 112] -> embedding [N, 512], not normalised."""

    def __init__(self, depth, mla):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        cin = 64
        for i, (channels, count) in enumerate(zip((64, 128, 256, 512), BLOCKS[depth]), 1):
            blocks = [Block(cin, channels, 2, mla)]
            blocks += [Block(channels, channels, 1, mla) for _ in range(count - 1)]
            self.add_module(f"layer{i}", nn.Sequential(*blocks))
            cin = channels
        self.bn2 = nn.BatchNorm2d(512)
        self.fc = nn.Linear(512 * 7 * 7, 512)
        self.features = nn.BatchNorm1d(512)
        self.saatten = PatchAttention() if mla else None
        self.lf = Gamma() if mla else None

    def forward(self, image):
        x = self.prelu(self.bn1(self.conv1(image)))
        x = self.bn2(self.layer4(self.layer3(self.layer2(self.layer1(x)))))
        if self.saatten is not None:
            # One BN, three times: the side branch, the trunk (above) and their sum.
            x = self.bn2(x + self.lf(self.bn2(self.saatten(image))))
        return (self.features(self.fc(x.flatten(1))),)
