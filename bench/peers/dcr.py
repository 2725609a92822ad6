"""Deep Coupled ResNet in PyTorch: one trunk for all resolutions, one small branch for each."""

from torch import nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    def __init__(self, cin, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        if stride != 1 or cin != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(cin, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
        else:
            self.downsample = None

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def stage(cin, channels, blocks, stride):
    return nn.Sequential(BasicBlock(cin, channels, stride),
                         *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))


class DcrTrunk(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = stage(64, 64, layers[0], 1)
        self.layer2 = stage(64, 128, layers[1], 2)
        self.layer3 = stage(128, 256, layers[2], 2)
        self.layer4 = stage(256, 512, layers[3], 2)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean((2, 3))


class PlainBlock(nn.Module):
    """Residual block of constant width with PReLU."""

    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.PReLU(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.PReLU(channels)

    def forward(self, x):
        return self.relu2(x + self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x))))))


def new_stage(cin, channels, blocks):
    return nn.Sequential(nn.Conv2d(cin, channels, 3, 1, 1, bias=False), nn.MaxPool2d(2, 2),
                         *(PlainBlock(channels) for _ in range(blocks)))


class NewDcrTrunk(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.relu = nn.PReLU(32)
        self.layer1 = new_stage(32, 64, layers[0])
        self.layer2 = new_stage(64, 128, layers[1])
        self.layer3 = new_stage(128, 256, layers[2])
        self.layer4 = new_stage(256, 512, layers[3])

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))


class Branch(nn.Module):
    """The embedding is what comes ahead of the PReLU."""

    def __init__(self, num_classes):
        super().__init__()
        self.fc1 = nn.Linear(512, 512)
        self.fc2 = nn.Linear(512, num_classes)
        self.relu = nn.PReLU()

    def forward(self, x, normalized):
        e = self.fc1(x)
        if normalized:
            e = F.normalize(e)
        return e, self.fc2(self.relu(e))


class Dcr(nn.Module):
    """[N, 3, 120, 120] -> trunk_embeddings, branch_embeddings [N, 512], branch_logits [N, classes];
    with `branch=None` trunk_embeddings and trunk_logits. `backbone` is "DCRTrunk" or "NewDCRTrunk".
    """

    def __init__(self, num_classes=10575, num_scales=5, branch=0, backbone="DCRTrunk",
                 layers=(1, 2, 5, 3), normalized_embeddings=False):
        super().__init__()
        self.trunk = {"DCRTrunk": DcrTrunk, "NewDCRTrunk": NewDcrTrunk}[backbone](layers)
        self.trunk.fc1 = nn.Linear(512, 512)
        self.trunk.fc2 = nn.Linear(512, num_classes)
        self.branches = nn.ModuleList(Branch(num_classes) for _ in range(num_scales))
        self.branch = branch
        self.normalized = normalized_embeddings

    def forward(self, x):
        t = self.trunk.fc1(self.trunk(x))
        if self.normalized:
            t = F.normalize(t)
        if self.branch is None:
            return t, self.trunk.fc2(t)
        return t, *self.branches[self.branch](t, self.normalized)
