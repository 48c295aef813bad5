"""Loops as people write them, for `random_loops` to put between other statements.

Each idiom is the text of a few statements. ``V``, ``X`` and ``Y`` become vectors, perhaps the same
one; ``M`` and ``B`` matrices of three columns; ``I``, ``J``, ``K`` fresh indices; ``C`` a fresh
name; ``F`` a function; ``{}`` a scalar. Values shrink in each, so that programs stay tame.
"""

FUNCTIONS = ("np.tanh", "np.sin", "0.6 * ", "np.cos", "0.5 * ", "np.arctan")

_TEXT = """
for I in range(1, n):
    V[I] = F(V[I - 1]) * 0.6 + 0.3 * X[I]
---
for I in range(n - 2, -1, -1):
    V[I] += 0.4 * F(V[I + 1]) * X[I]
---
for I in range(n):
    V[I] = 0.5 * F(V[I - 1]) + 0.2 * Y[-1 - I]
---
for I in range(n):
    if I == 0:
        C = 0.3 * {}
    else:
        C = 0.6 * V[I - 1]
    V[I] = F(C) + 0.3 * X[I]
---
for I in range(n):
    if I > 0:
        V[I] = 0.5 * V[I] + 0.4 * F(V[I - 1])
    if I > 1 and switch[I] > 0.0:
        V[I] += 0.2 * V[I - 2] * X[I - 1]
---
for I in range(n):
    C = V[I - 1] if I > 0 else {}
    V[I] = 0.7 * F(C * X[I])
    a = 0.9 * a + 0.1 * C
---
for I in range(1, n):
    V[-I] += 0.3 * F(X[-I - 1]) * V[-I - 1]
---
for I in range(1, n):
    M[I] = F(M[I - 1]) * 0.6 + 0.2 * B[I] * X[I]
---
for I in range(n - 2, -1, -1):
    M[I] -= 0.3 * M[I + 1] * B[I]
---
for I in range(1, n):
    for J in range(3):
        M[I, J] = 0.5 * F(M[I - 1, J]) + 0.3 * B[I, J] * X[I]
---
for I in range(1, n):
    for J in range(1, 3):
        M[I, J] = 0.4 * M[I - 1, J] + 0.3 * F(M[I, J - 1]) + 0.2 * M[I - 1, J - 1]
---
for I in range(n):
    for J in range(I):
        V[I] -= 0.15 * F(V[J]) * X[J]
---
for I in range(n):
    for J in range(I + 1, n):
        C = X[I] - Y[J]
        V[I] += 0.1 * C / (1.0 + C * C)
        V[J] -= 0.1 * F(C)
---
for I in range(n):
    for J in range(I):
        M[I] -= 0.1 * M[J] * X[J]
---
C = np.outer(X, Y) * 0.3
for I in range(n):
    D = V[I]
    for J in range(I):
        D -= C[I, J] * V[J]
    V[I] = D / (1.5 + C[I, I] ** 2)
---
C = np.outer(X, Y) * 0.3
for I in range(n - 1, -1, -1):
    V[I] = (V[I] - C[I, I + 1 :] @ V[I + 1 :]) / (1.5 + X[I] ** 2)
---
C = np.outer(X, Y) * 0.4
for I in range(1, n):
    for J in range(1, n):
        C[I, J] = 0.3 * (C[I - 1, J] + F(C[I, J - 1])) + 0.2 * C[I - 1, J - 1] * V[J]
a = 0.5 * a + 0.2 * C[n - 1, n - 1]
---
C = np.outer(X, Y) * 0.4
for I in range(n):
    for J in range(I + 1, n):
        C[J, I:] -= 0.2 * C[I, I:] * F(C[J, I])
b = 0.5 * b + 0.1 * np.sum(C)
---
C = B.T @ B * 0.2
D = np.zeros(3)
for I in range(n):
    D = np.tanh(C @ D + 0.5 * M[I])
    a = 0.8 * a + 0.1 * np.sum(D * D)
---
C = B.T @ M * 0.2
D = np.ones(3) * {} * 0.4
for I in range(n):
    D = 0.5 * (D @ C) + 0.3 * B[I] * X[I]
    M[I] = D
---
C = np.eye(3) * 0.9
for I in range(n):
    C = 0.6 * C @ (np.outer(M[I], B[I]) * 0.4) + 0.2
b = 0.3 * b + 0.1 * np.sum(C)
---
C = B.T @ B * 0.2
for I in range(1, n):
    E = 0.0
    for J in range(3):
        D = 0.0
        for K in range(3):
            D += M[I - 1, K] * C[K, J]
        M[I, J] = D * np.exp(-B[I, J] ** 2)
        E += abs(M[I, J])
    M[I] /= 1.0 + E
    a += 0.1 * np.log(1.0 + E)
---
for I in range(3):
    C = V.copy()
    C[1:-1] = V[1:-1] + 0.1 * (V[2:] - 2.0 * V[1:-1] + V[:-2]) * X[1:-1]
    C[0] = F(C[-1]) * 0.5
    V = C
---
C = V * 0.5
for I in range(k):
    for J in range(1, n - 1):
        C[J] = 0.5 * V[J] + 0.2 * F(V[J + 1] - V[J - 1]) * X[J]
    C[0] = C[1]
    C[-1] = {} * 0.2
    V, C = C, V
---
for I in range(k):
    V[1:-1] += 0.1 * (V[2:] - V[:-2]) * X[1:-1]
    V[0] = 0.5 * V[n - 1]
---
for I in range(n):
    V[places[I]] += 0.3 * F(X[I])
---
for I in range(n):
    V[places[I]] = 0.5 * V[places[I - 1]] * X[I] + 0.2
---
for I in range(n):
    M[places[I]] += 0.2 * B[I] * X[places[I]]
---
for I in range(0, n, 2):
    V[I // 2] = 0.5 * V[I // 2] + 0.4 * F(X[I])
---
I = 0
C = 0.9 * {}
while I < n and C * C > 0.003:
    C = 0.7 * F(C) + 0.1 * X[I]
    V[I] = 0.5 * V[I] + 0.4 * C
    I += 1
---
I = n - 1
while I > 0:
    V[I - 1] += 0.3 * F(V[I])
    I -= 1 + k % 2
---
C = 1.0
for I in range(n):
    C = C * (0.7 + 0.2 * X[I])
    D = C * C
    a = 0.9 * a + 0.1 * D
b = b / (1.0 + C * C)
---
C = 0.0
for I in range(n):
    C += np.exp(X[I])
for I in range(n):
    V[I] = np.exp(X[I]) / C
---
C = 0.0
for I in range(n):
    C += X[I] * Y[I]
C = np.sqrt(1.0 + C * C)
for I in range(n):
    V[I] = V[I] / C
---
C = X[0]
D = 0
for I in range(1, n):
    if X[I] > C:
        C, D = X[I], I
a = 0.5 * a + 0.3 * C * Y[D]
---
for I in range(1, n):
    V[:I] += 0.1 * F(X[I])
    V[I:] *= 0.9
---
for I in range(1, n):
    V[I] = 0.5 * F(V[I]) + 0.3 * np.sum(X[:I]) / n
---
for I in range(n):
    a = 0.9 * a + 0.1 * np.sum(V[I:] * X[: n - I])
---
for I in range(1, n - 1):
    V[I] = 0.5 * V[I] + 0.1 * np.sum(X[I - 1 : I + 2] * V[I - 1 : I + 2])
---
for I in range(n):
    C = B[I, : I % 4]
    M[I, : I % 4] *= 0.8
    a = 0.8 * a + 0.1 * np.sum(C * C)
---
C = 0.0
for D in B:
    C = 0.6 * C + 0.2 * D[0] * D[2]
    D[1] += 0.1 * C
b += 0.1 * C
---
for I in range(n // 2):
    V[I], V[n - 1 - I] = 0.9 * V[n - 1 - I], F(V[I])
---
C = np.zeros(n)
D = np.zeros(n)
C[0] = 0.3 * X[0]
D[0] = Y[0]
for I in range(1, n):
    E = 2.0 + 0.3 * X[I] - 0.5 * C[I - 1]
    C[I] = 0.5 / E
    D[I] = (Y[I] + 0.5 * D[I - 1]) / E
V[n - 1] = D[n - 1]
for I in range(n - 2, -1, -1):
    V[I] = D[I] - C[I] * V[I + 1]
---
C, D = 0.8, {} * 0.4
for I in range(n):
    E = 0.5 * C - 0.4 * C * D
    C, D = C + 0.1 * (E + X[I]), D + 0.1 * (C * D - D)
    a = 0.9 * a + 0.05 * (C - Y[I]) ** 2
---
C = np.zeros((n, 2))
for I in range(n):
    C[I, 0] = F(X[I])
    C[I, 1] = 0.5 * C[I - 1, 0] * C[I, 0]
V = V * 0.5 + C[:, 1]
---
C = np.zeros(n)
for I in range(k, n):
    C[I] = 0.4 * C[I - k] + 0.3 * F(X[I])
    if C[I] > 0.6:
        break
V = 0.6 * C + 0.2 * V
---
for I in range(n):
    if switch[I] > 0.0:
        continue
    C = 0.5 * V[I]
    for J in range(k):
        C = F(C) * 0.7 + 0.1 * X[J]
    V[I] = C
"""

IDIOMS = tuple(text.strip("\n") for text in _TEXT.split("---\n"))
