"""A byte-level GPT with a naive start and no normalisation. This is the file that agents edit.

`build_model(run)` returns a module that maps int64 tokens (B, T) to logits (B, T, vocabulary);
`train(run, model)` trains it in place until `run.batches(...)` ends. The run owns the budget, the
seed and the metric: the script only spends what it is given.

    run.vocab_size             number of distinct tokens
    run.context                length of the windows that the model is scored on
    run.device                 where tensors live
    run.batches(size, context) draws (x, y), int64 (size, context), until the budget is spent
    run.progress()             share of the budget spent, 0 to 1
    run.generator(name)        a torch.Generator of its own for every name, derived from the seed
    run.log(loss)              shows the loss to whoever watches
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

# The model
N_LAYER = 2
D_MODEL = 64
N_HEAD = 2
MLP_RATIO = 4

# The training
TRAIN_CONTEXT = 128
BATCH_SIZE = 8
LEARNING_RATE = 3e-3
BETA1 = 0.9
BETA2 = 0.999
WEIGHT_DECAY = 0.01
GRAD_CLIP = 0.0  # largest gradient norm; 0 leaves gradients as they are


def norm(width):
    return nn.Identity()


def activation(x):
    return F.gelu(x)


def add_positions(x, table):
    """Adds one learned vector per place in the window to x (B, T, D)."""
    return x + table.weight[: x.shape[1]]


def shape_heads(q, k):
    """Last say on queries and keys (B, H, T, D / H) before attention."""
    return q, k


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(D_MODEL, 3 * D_MODEL)
        self.out = nn.Linear(D_MODEL, D_MODEL)

    def forward(self, x):
        batch, time, width = x.shape
        qkv = self.qkv(x).view(batch, time, 3, N_HEAD, width // N_HEAD)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        q, k = shape_heads(q, k)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(batch, time, width))


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Linear(D_MODEL, int(MLP_RATIO * D_MODEL))
        self.down = nn.Linear(int(MLP_RATIO * D_MODEL), D_MODEL)

    def forward(self, x):
        return self.down(activation(self.up(x)))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1 = norm(D_MODEL)
        self.attention = Attention()
        self.norm2 = norm(D_MODEL)
        self.mlp = MLP()

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, run):
        super().__init__()
        self.tokens = nn.Embedding(run.vocab_size, D_MODEL)
        self.positions = nn.Embedding(max(run.context, TRAIN_CONTEXT), D_MODEL)
        self.blocks = nn.ModuleList(Block() for _ in range(N_LAYER))
        self.norm = norm(D_MODEL)
        self.head = nn.Linear(D_MODEL, run.vocab_size, bias=False)

    def forward(self, tokens):
        x = add_positions(self.tokens(tokens), self.positions)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


@torch.no_grad()
def init_weights(run, model):
    for name, parameter in model.named_parameters():
        if parameter.dim() >= 2:
            parameter.normal_(0.0, 0.5, generator=run.generator(name))
        elif name.endswith("bias"):
            parameter.zero_()


def build_model(run):
    model = GPT(run)
    init_weights(run, model)
    return model.to(run.device)


def make_optimizer(model):
    return torch.optim.AdamW(
        model.parameters(),
        lr=LEARNING_RATE,
        betas=(BETA1, BETA2),
        weight_decay=WEIGHT_DECAY,
        fused=True,
    )


def learning_rate(progress):
    return LEARNING_RATE


def train(run, model):
    optimizer = make_optimizer(model)
    for x, y in run.batches(BATCH_SIZE, TRAIN_CONTEXT):
        rate = learning_rate(run.progress())
        for group in optimizer.param_groups:
            # A group may carry its own factor, so that one schedule serves them all.
            group["lr"] = rate * group.get("lr_factor", 1.0)
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if GRAD_CLIP > 0:
            nn.utils.clip_grad_norm_(model.parameters(), GRAD_CLIP)
        optimizer.step()
        run.log(loss)
