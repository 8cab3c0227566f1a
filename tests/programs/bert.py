"""A BERT block with masks: embeddings, attention over real tokens only, the masked-word loss and the next-sentence loss."""

import megengine as mge
import megengine.functional as F
import megengine.module as M
import numpy as np
from common import array, fixed, labels, train
from megengine.optimizer import Adam


def transpose_for_scores(x, heads):
    x = x.reshape(x.shape[0], x.shape[1], heads, -1)
    return F.transpose(x, (0, 2, 1, 3))


class SelfAttention(M.Module):
    def __init__(self, size, heads):
        super().__init__()
        self.heads, self.head_size = heads, size // heads
        self.query, self.key, self.value = M.Linear(size, size), M.Linear(size, size), M.Linear(size, size)
        self.dense, self.norm = M.Linear(size, size), M.LayerNorm(size, eps=1e-12)
        self.dropout = M.Dropout(0.0)

    def forward(self, x, mask):
        q, k, v = (transpose_for_scores(layer(x), self.heads) for layer in (self.query, self.key, self.value))
        scores = F.matmul(q, F.transpose(k, (0, 1, 3, 2))) / np.sqrt(self.head_size).astype("float32")
        probabilities = self.dropout(F.softmax(scores + mask, axis=-1))
        context = F.transpose(F.matmul(probabilities, v), (0, 2, 1, 3))
        return self.norm(x + self.dense(context.reshape(context.shape[0], context.shape[1], -1)))


class Bert(M.Module):
    def __init__(self, vocabulary=11, size=16, length=6):
        super().__init__()
        self.words = M.Embedding(vocabulary, size)
        self.positions = M.Embedding(length, size)
        self.types = M.Embedding(2, size)
        self.norm = M.LayerNorm(size, eps=1e-12)
        self.attention = SelfAttention(size, 2)
        self.intermediate, self.output = M.Linear(size, 32), M.Linear(32, size)
        self.output_norm = M.LayerNorm(size, eps=1e-12)
        self.pooler, self.sentence, self.decoder = M.Linear(size, size), M.Linear(size, 2), M.Linear(size, vocabulary)

    def forward(self, ids, types, mask):
        positions = F.expand_dims(F.arange(ids.shape[1], dtype="int32"), 0)
        x = self.norm(self.words(ids) + self.positions(positions) + self.types(types))
        extended = F.expand_dims(F.expand_dims(mask.astype("float32"), 1), 2)
        x = self.attention(x, (1.0 - extended) * -10000.0)
        x = self.output_norm(x + self.output(F.gelu(self.intermediate(x))))
        return self.decoder(x), self.sentence(F.tanh(self.pooler(x[:, 0])))


def run(traced):
    net = fixed(Bert())

    def loss_of(ids, types, mask, words, following):
        scores, sentence = net(ids, types, mask)
        return F.nn.cross_entropy(scores.reshape(-1, 11), words.flatten()) + F.nn.cross_entropy(sentence, following)

    batches = []
    for i in range(3):
        mask = (array(2, 6, seed=i) > -1).astype("int32")
        batches.append(
            (
                labels(11, 2, 6, seed=i),
                labels(2, 2, 6, seed=i + 5),
                mask,
                labels(11, 2, 6, seed=i + 9),
                labels(2, 2, seed=i),
            )
        )
    found = train(net, Adam(net.parameters(), lr=0.01, eps=1e-3), loss_of, batches, traced)
    net.eval()
    scores, sentence = net(*(mge.tensor(x) for x in batches[0][:3]))
    return found + scores[0, 0].numpy().tolist() + sentence.numpy().ravel().tolist()
