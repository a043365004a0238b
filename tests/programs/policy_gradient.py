"""REINFORCE and a small DQN on a tiny cart-pole-like environment of our own."""
import math
import random
from collections import deque, namedtuple

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.distributions import Categorical

torch.manual_seed(543)
random.seed(543)


class Pole:
    def reset(self):
        self.state = [random.uniform(-0.05, 0.05) for _ in range(4)]
        self.t = 0
        return self.state

    def step(self, action):
        x, v, a, w = self.state
        force = 10.0 if action == 1 else -10.0
        temp = (force + 0.05 * w * w * math.sin(a)) / 1.1
        acc = (9.8 * math.sin(a) - math.cos(a) * temp) / (0.5 * (4.0 / 3.0 - 0.1 * math.cos(a) ** 2 / 1.1))
        xacc = temp - 0.05 * acc * math.cos(a) / 1.1
        self.state = [x + 0.02 * v, v + 0.02 * xacc, a + 0.02 * w, w + 0.02 * acc]
        self.t += 1
        done = abs(self.state[0]) > 2.4 or abs(self.state[2]) > 0.21 or self.t >= 60
        return self.state, 1.0, done


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine1 = nn.Linear(4, 32)
        self.dropout = nn.Dropout(p=0.2)
        self.action_head = nn.Linear(32, 2)
        self.value_head = nn.Linear(32, 1)

    def forward(self, x):
        x = F.relu(self.dropout(self.affine1(x)))
        return F.softmax(self.action_head(x), dim=-1), self.value_head(x)


env, policy = Pole(), Policy()
optimizer = optim.Adam(policy.parameters(), lr=1e-2)
eps = torch.finfo(torch.float32).eps.item() if hasattr(torch.finfo(torch.float32).eps, "item") else torch.finfo(torch.float32).eps
for episode in range(8):
    state, saved, rewards, entropy = env.reset(), [], [], 0
    while True:
        probs, value = policy(torch.tensor(state))
        m = Categorical(probs)
        action = m.sample()
        entropy += m.entropy()
        saved.append((m.log_prob(action), value))
        state, reward, done = env.step(action.item())
        rewards.append(reward)
        if done:
            break
    R, returns = 0, deque()
    for r in rewards[::-1]:
        R = r + 0.99 * R
        returns.appendleft(R)
    returns = torch.tensor(returns)
    returns = (returns - returns.mean()) / (returns.std() + eps)
    policy_losses = [-lp * (R - v.item()) for (lp, v), R in zip(saved, returns)]
    value_losses = [F.smooth_l1_loss(v, torch.tensor([R])) for (_, v), R in zip(saved, returns)]
    optimizer.zero_grad()
    loss = torch.stack(policy_losses).sum() + torch.stack(value_losses).sum() - 0.01 * entropy
    loss.backward()
    optimizer.step()
    print(f"episode {episode} length {len(rewards)} loss {loss.item():.3f}")

Transition = namedtuple("Transition", ("state", "action", "next_state", "reward"))
q, target = nn.Sequential(nn.Linear(4, 24), nn.Tanh(), nn.Linear(24, 2)), nn.Sequential(nn.Linear(4, 24), nn.Tanh(), nn.Linear(24, 2))
target.load_state_dict(q.state_dict())
optimizer = optim.AdamW(q.parameters(), lr=1e-3, amsgrad=True)
memory = deque([], maxlen=200)
state = torch.tensor([env.reset()])
for step in range(80):
    with torch.no_grad():
        action = q(state).max(1).indices.view(1, 1) if random.random() > 0.3 else torch.tensor([[random.randrange(2)]], dtype=torch.long)
    observation, reward, done = env.step(action.item())
    next_state = None if done else torch.tensor([observation], dtype=torch.float32)
    memory.append(Transition(state, action, next_state, torch.tensor([reward])))
    state = torch.tensor([env.reset()]) if done else next_state
    if len(memory) < 32:
        continue
    batch = Transition(*zip(*random.sample(memory, 32)))
    mask = torch.tensor(tuple(s is not None for s in batch.next_state), dtype=torch.bool)
    states, actions, rewards = torch.cat(batch.state), torch.cat(batch.action), torch.cat(batch.reward)
    values = q(states).gather(1, actions)
    following = torch.zeros(32)
    with torch.no_grad():
        following[mask] = target(torch.cat([s for s in batch.next_state if s is not None])).max(1).values
    loss = nn.SmoothL1Loss()(values, (following * 0.99 + rewards).unsqueeze(1))
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_value_(q.parameters(), 100)
    optimizer.step()
    slow, fast = target.state_dict(), q.state_dict()
    for key in fast:
        slow[key] = fast[key] * 0.05 + slow[key] * 0.95
    target.load_state_dict(slow)
    if step % 16 == 15:
        print(f"step {step} loss {loss.item():.4f} q {values.mean().item():.4f}")
