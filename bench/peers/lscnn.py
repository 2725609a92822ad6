"""LS-CNN in PyTorch: dense blocks of inception layers behind dual face attention.

Module names give the state_dict keys of the published code, a literal space included.
"""

from collections import OrderedDict

import torch
from torch import nn


class ConvBnRelu(nn.Module):
    """Convolution without bias, BN with eps 1e-3, ReLU."""

    def __init__(self, cin, cout, kernel, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(cout, eps=1e-3)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.bn(self.conv(x)))


class SpatialAttention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        hidden = channels // 16
        self.spatial_atten = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, 1, 1), nn.Sigmoid())

    def forward(self, x):
        return x * self.spatial_atten(x)


class ChannelAttention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.fc1 = nn.Linear(channels, channels // 16, bias=False)
        self.fc2 = nn.Linear(channels // 16, channels, bias=False)

    def forward(self, x):
        weight = torch.sigmoid(self.fc2(torch.relu(self.fc1(x.mean((2, 3))))))
        return x * weight[:, :, None, None]


class DualFaceAttention(nn.Module):
    """Spatial attention first; the channel attention squeezes the weighted map."""

    def __init__(self, channels):
        super().__init__()
        self.LANet = SpatialAttention(channels)
        self.SENet = ChannelAttention(channels)

    def forward(self, x):
        return self.SENet(self.LANet(x))


class DenseLayer(nn.Module):
    def __init__(self, channels, growth):
        super().__init__()
        wide = 4 * growth
        self.branch1_1x1 = ConvBnRelu(channels, wide, 1)
        self.branch2_1x1 = ConvBnRelu(channels, wide, 1)
        self.branch3_1x1 = ConvBnRelu(channels, growth, 1)
        self.branch1_3x3 = ConvBnRelu(wide, growth, 3, padding=1)
        self.branch1_3x3_2 = ConvBnRelu(growth, growth, 3, padding=1)
        self.branch2_3x3 = ConvBnRelu(wide, growth, 3, padding=1)
        self.output = ConvBnRelu(3 * growth, growth, 1)

    def forward(self, x):
        first = self.branch1_3x3_2(self.branch1_3x3(self.branch1_1x1(x)))
        second = self.branch2_3x3(self.branch2_1x1(x))
        return self.output(torch.cat((first, second, self.branch3_1x1(x)), 1))


class TransitionLayer(nn.Module):
    """Halves width and resolution; the third branch pools."""

    def __init__(self, channels):
        super().__init__()
        half = (channels + 1) // 2
        self.branch1_1x1 = ConvBnRelu(channels, half, 1)
        self.branch2_1x1 = ConvBnRelu(channels, half, 1)
        self.branch3_1x1 = ConvBnRelu(channels, half, 1)
        self.branch1_3x3 = ConvBnRelu(half, half, 3, padding=1)
        self.branch1_3x3_2 = ConvBnRelu(half, half, 3, stride=2)
        self.branch2_3x3 = ConvBnRelu(half, half, 3, stride=2)
        self.branch3_3x3 = nn.MaxPool2d(3, 2)
        self.output = ConvBnRelu(3 * half, half, 1)

    def forward(self, x):
        first = self.branch1_3x3_2(self.branch1_3x3(self.branch1_1x1(x)))
        second = self.branch2_3x3(self.branch2_1x1(x))
        return self.output(torch.cat((first, second, self.branch3_3x3(self.branch3_1x1(x))), 1))


class DenseBlock(nn.Module):
    """Every layer sees the attended concatenation; what is concatenated stays unattended."""

    def __init__(self, channels, growth, layers):
        super().__init__()
        for i in range(layers):
            width = channels + i * growth
            self.add_module(f"DenseBlock_{i}", nn.Sequential(OrderedDict([
                (f"DFA_{i}", DualFaceAttention(width)),
                (f"DenseLayer_{i}", DenseLayer(width, growth))])))

    def forward(self, x):
        for layer in self.children():
            x = torch.cat((x, layer(x)), 1)
        return x


class Transition(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.transition_block = nn.Sequential(OrderedDict([
            ("DFA", DualFaceAttention(channels)),
            ("Transition layer", TransitionLayer(channels))]))

    def forward(self, x):
        return self.transition_block(x)


class LsCnn(nn.Sequential):
    """[N, 3, 128, 128] -> embedding [N, 512], logits [N, num_classes]."""

    def __init__(self, num_classes=10559, growth=48, layers=(3, 3, 5)):
        super().__init__()
        self._stem(1, 3, 48)
        self._stem(2, 48, 48)
        self.maxPool1 = nn.MaxPool2d(3, 2)
        self._stem(3, 48, 96)
        self._stem(4, 96, 96)
        self.maxPool2 = nn.MaxPool2d(3, 2)
        channels = 96
        for i, count in enumerate(layers, 1):
            # The first block is the only one whose name lacks an s.
            self.add_module("lcnn_D1" if i == 1 else f"lscnn_D{i}",
                            DenseBlock(channels, growth, count))
            channels += count * growth
            if i < len(layers):
                self.add_module(f"lscnn_T{i}", Transition(channels))
                channels = (channels + 1) // 2
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.avgPool = nn.AvgPool2d(7, 1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, 512)
        self.classification = nn.Linear(512, num_classes)

    def _stem(self, i, cin, cout):
        self.add_module(f"conv{i}", nn.Conv2d(cin, cout, 3, padding=1))
        self.add_module(f"norm{i}", nn.BatchNorm2d(cout))
        self.add_module(f"relu{i}", nn.ReLU())

    def forward(self, x):
        for name, module in self.named_children():
            if name != "classification":
                x = module(x)
        return x, self.classification(x)
