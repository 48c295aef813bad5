"""Bundle adjustment, the model of ADBench: observations that index cameras and points.

A camera holds a rotation vector (3), a centre (3), a focal length, a principal point (2) and two
coefficients of radial distortion.
"""

from functools import partial

import numpy as np
from numba import njit

from ..case import Case
from ..numba_limit import FLAGS, cos, limit, sin

SMALL = 1e-12


def rotate(a, b, c, x, y, z):
    square = a * a + b * b + c * c
    if square > SMALL:
        angle = np.sqrt(square)
        cosine = np.cos(angle)
        sine = np.sin(angle)
        a = a / angle
        b = b / angle
        c = c / angle
        along = (a * x + b * y + c * z) * (1.0 - cosine)
        return (
            x * cosine + (b * z - c * y) * sine + a * along,
            y * cosine + (c * x - a * z) * sine + b * along,
            z * cosine + (a * y - b * x) * sine + c * along,
        )
    return x + b * z - c * y, y + c * x - a * z, z + a * y - b * x


def project(camera, point):
    x, y, z = rotate(
        camera[0],
        camera[1],
        camera[2],
        point[0] - camera[3],
        point[1] - camera[4],
        point[2] - camera[5],
    )
    u = x / z
    v = y / z
    square = u * u + v * v
    scale = camera[6] * (1.0 + camera[9] * square + camera[10] * square * square)
    return camera[7] + scale * u, camera[8] + scale * v


def reprojection_error(cameras, points, weights, camera_of, point_of, seen):
    total = 0.0
    for k in range(seen.shape[0]):
        u, v = project(cameras[camera_of[k]], points[point_of[k]])
        e = weights[k] * (u - seen[k, 0])
        f = weights[k] * (v - seen[k, 1])
        total += e * e + f * f
    return total


def all_rotated(turn, p):
    square = np.sum(turn * turn, axis=1)
    far = square > SMALL
    angle = np.sqrt(np.where(far, square, 1.0))
    x, y, z = p[:, 0], p[:, 1], p[:, 2]
    a, b, c = turn[:, 0] / angle, turn[:, 1] / angle, turn[:, 2] / angle
    cosine = np.where(far, np.cos(angle), 1.0)
    sine = np.where(far, np.sin(angle), 1.0)
    along = (a * x + b * y + c * z) * (1.0 - cosine)
    return (
        x * cosine + (b * z - c * y) * sine + a * along,
        y * cosine + (c * x - a * z) * sine + b * along,
        z * cosine + (a * y - b * x) * sine + c * along,
    )


def all_observations(cameras, points, weights, camera_of, point_of, seen):
    """The same in array operations, for the peers that would unroll the loop."""
    camera = cameras[camera_of]
    x, y, z = all_rotated(camera[:, :3], points[point_of] - camera[:, 3:6])
    u = x / z
    v = y / z
    square = u * u + v * v
    scale = camera[:, 6] * (1.0 + camera[:, 9] * square + camera[:, 10] * square * square)
    e = weights * (camera[:, 7] + scale * u - seen[:, 0])
    f = weights * (camera[:, 8] + scale * v - seen[:, 1])
    return np.sum(e * e + f * f)


@njit(fastmath=FLAGS, error_model="numpy", forceinline=True)
def observation_forward(a0, b0, c0, cx, cy, cz, k1, k2, px, py, pz):
    """The projection before its focal length, and what its derivatives are made of.

    Near zero, sine and cosine are taken for 1 and the axis for the rotation vector.
    """
    x0 = px - cx
    y0 = py - cy
    z0 = pz - cz
    turn = a0 * a0 + b0 * b0 + c0 * c0
    far = turn > SMALL
    angle = np.sqrt(turn if far else 1.0)
    inverse = 1.0 / angle
    cosine = cos(angle) if far else 1.0
    sine = sin(angle) if far else 1.0
    a = a0 * inverse
    b = b0 * inverse
    c = c0 * inverse
    dot = a * x0 + b * y0 + c * z0
    cross_x = b * z0 - c * y0
    cross_y = c * x0 - a * z0
    cross_z = a * y0 - b * x0
    along = dot * (1.0 - cosine)
    depth = 1.0 / (z0 * cosine + cross_z * sine + c * along)
    u = (x0 * cosine + cross_x * sine + a * along) * depth
    v = (y0 * cosine + cross_y * sine + b * along) * depth
    square = u * u + v * v
    bent = 1.0 + (k1 + k2 * square) * square
    turned = x0, y0, z0, far, inverse, cosine, sine, a, b, c, dot
    crossed = cross_x, cross_y, cross_z, along, depth
    return u, v, square, bent, turned, crossed


@njit(fastmath=FLAGS, error_model="numpy", forceinline=True)
def observation_reverse(u, v, turned, crossed, u_bar, v_bar):
    """Cotangents of the rotation vector and of the point seen from the centre."""
    x0, y0, z0, far, inverse, cosine, sine, a, b, c, dot = turned
    cross_x, cross_y, cross_z, along, depth = crossed
    x_bar = u_bar * depth
    y_bar = v_bar * depth
    z_bar = -(x_bar * u + y_bar * v)
    cross_x_bar = x_bar * sine
    cross_y_bar = y_bar * sine
    cross_z_bar = z_bar * sine
    along_bar = x_bar * a + y_bar * b + z_bar * c
    dot_bar = along_bar * (1.0 - cosine)
    sine_bar = x_bar * cross_x + y_bar * cross_y + z_bar * cross_z
    cosine_bar = x_bar * x0 + y_bar * y0 + z_bar * z0 - along_bar * dot
    a_bar = x_bar * along + dot_bar * x0 + cross_z_bar * y0 - cross_y_bar * z0
    b_bar = y_bar * along + dot_bar * y0 + cross_x_bar * z0 - cross_z_bar * x0
    c_bar = z_bar * along + dot_bar * z0 + cross_y_bar * x0 - cross_x_bar * y0
    x0_bar = x_bar * cosine + dot_bar * a + cross_y_bar * c - cross_z_bar * b
    y0_bar = y_bar * cosine + dot_bar * b + cross_z_bar * a - cross_x_bar * c
    z0_bar = z_bar * cosine + dot_bar * c + cross_x_bar * b - cross_y_bar * a
    angle_bar = sine_bar * cosine - cosine_bar * sine
    angle_bar -= (a_bar * a + b_bar * b + c_bar * c) * inverse
    angle_bar = angle_bar if far else 0.0
    return (
        a_bar * inverse + angle_bar * a,
        b_bar * inverse + angle_bar * b,
        c_bar * inverse + angle_bar * c,
        x0_bar,
        y0_bar,
        z0_bar,
    )


@njit(fastmath=FLAGS, error_model="numpy", forceinline=True)
def observation_adjoint(a0, b0, c0, cx, cy, cz, focal, u0, v0, k1, k2, px, py, pz, w, su, sv):
    """Value and cotangents (a camera's eleven; a point's are the centre's, negative) of one."""
    u, v, square, bent, turned, crossed = observation_forward(
        a0, b0, c0, cx, cy, cz, k1, k2, px, py, pz
    )
    scale = focal * bent
    e = w * (u0 + scale * u - su)
    f = w * (v0 + scale * v - sv)
    u0_bar = 2.0 * w * e
    v0_bar = 2.0 * w * f
    scale_bar = u0_bar * u + v0_bar * v
    bent_bar = scale_bar * focal
    square_bar = bent_bar * (k1 + 2.0 * k2 * square)
    u_bar = u0_bar * scale + 2.0 * square_bar * u
    v_bar = v0_bar * scale + 2.0 * square_bar * v
    a0_bar, b0_bar, c0_bar, x0_bar, y0_bar, z0_bar = observation_reverse(
        u, v, turned, crossed, u_bar, v_bar
    )
    return (
        e * e + f * f,
        a0_bar,
        b0_bar,
        c0_bar,
        -x0_bar,
        -y0_bar,
        -z0_bar,
        scale_bar * bent,
        u0_bar,
        v0_bar,
        bent_bar * square,
        bent_bar * square * square,
    )


LANES = 128


@limit
def block_adjoint(p, bars):
    """LANES observations at once; row r of ``p`` and ``bars`` starts at r * LANES."""
    value = 0.0
    for i in range(LANES):
        (
            more,
            bars[i],
            bars[1 * LANES + i],
            bars[2 * LANES + i],
            bars[3 * LANES + i],
            bars[4 * LANES + i],
            bars[5 * LANES + i],
            bars[6 * LANES + i],
            bars[7 * LANES + i],
            bars[8 * LANES + i],
            bars[9 * LANES + i],
            bars[10 * LANES + i],
        ) = observation_adjoint(
            p[i],
            p[1 * LANES + i],
            p[2 * LANES + i],
            p[3 * LANES + i],
            p[4 * LANES + i],
            p[5 * LANES + i],
            p[6 * LANES + i],
            p[7 * LANES + i],
            p[8 * LANES + i],
            p[9 * LANES + i],
            p[10 * LANES + i],
            p[11 * LANES + i],
            p[12 * LANES + i],
            p[13 * LANES + i],
            p[14 * LANES + i],
            p[15 * LANES + i],
            p[16 * LANES + i],
        )
        value += more
    return value


@limit
def reprojection_error_adjoint(cameras, points, weights, camera_of, point_of, seen):
    """Blocks of observations in lanes; lanes past the last one carry weight zero."""
    cameras_bar = np.zeros(cameras.shape)
    points_bar = np.zeros(points.shape)
    count = seen.shape[0]
    p = np.empty(17 * LANES)
    bars = np.empty(11 * LANES)
    value = 0.0
    for block in range((count + LANES - 1) // LANES):
        first = block * LANES
        size = min(LANES, count - first)
        for i in range(LANES):
            k = first + min(i, size - 1)
            m = camera_of[k]
            n = point_of[k]
            if not (0 <= m < cameras.shape[0] and 0 <= n < points.shape[0]):
                raise IndexError
            for j in range(11):
                p[j * LANES + i] = cameras[m, j]
            for j in range(3):
                p[(11 + j) * LANES + i] = points[n, j]
            p[14 * LANES + i] = weights[k] if i < size else 0.0
            p[15 * LANES + i] = seen[k, 0]
            p[16 * LANES + i] = seen[k, 1]
        value += block_adjoint(p, bars)
        for i in range(size):
            m = camera_of[first + i]
            n = point_of[first + i]
            for j in range(11):
                cameras_bar[m, j] += bars[j * LANES + i]
            for j in range(3):
                points_bar[n, j] -= bars[(3 + j) * LANES + i]
    return value, (cameras_bar, points_bar)


@limit
def reprojection_error_adjoint_by_one(cameras, points, weights, camera_of, point_of, seen):
    """The observations in their order, one at a time."""
    cameras_bar = np.zeros(cameras.shape)
    points_bar = np.zeros(points.shape)
    value = 0.0
    for k in range(seen.shape[0]):
        m = camera_of[k]
        n = point_of[k]
        if not (0 <= m < cameras.shape[0] and 0 <= n < points.shape[0]):
            raise IndexError
        (
            more,
            a0_bar,
            b0_bar,
            c0_bar,
            cx_bar,
            cy_bar,
            cz_bar,
            focal_bar,
            u0_bar,
            v0_bar,
            k1_bar,
            k2_bar,
        ) = observation_adjoint(
            cameras[m, 0],
            cameras[m, 1],
            cameras[m, 2],
            cameras[m, 3],
            cameras[m, 4],
            cameras[m, 5],
            cameras[m, 6],
            cameras[m, 7],
            cameras[m, 8],
            cameras[m, 9],
            cameras[m, 10],
            points[n, 0],
            points[n, 1],
            points[n, 2],
            weights[k],
            seen[k, 0],
            seen[k, 1],
        )
        value += more
        cameras_bar[m, 0] += a0_bar
        cameras_bar[m, 1] += b0_bar
        cameras_bar[m, 2] += c0_bar
        cameras_bar[m, 3] += cx_bar
        cameras_bar[m, 4] += cy_bar
        cameras_bar[m, 5] += cz_bar
        cameras_bar[m, 6] += focal_bar
        cameras_bar[m, 7] += u0_bar
        cameras_bar[m, 8] += v0_bar
        cameras_bar[m, 9] += k1_bar
        cameras_bar[m, 10] += k2_bar
        points_bar[n, 0] -= cx_bar
        points_bar[n, 1] -= cy_bar
        points_bar[n, 2] -= cz_bar
    return value, (cameras_bar, points_bar)


def inputs(observations, cameras, points):
    """Points around the origin, seen from cameras some ten units away; camera 0 is not turned."""
    rng = np.random.default_rng(9)
    made = np.empty((cameras, 11))
    made[:, :3] = 0.3 * rng.standard_normal((cameras, 3))
    made[0, :3] = 0.0
    made[:, 3:6] = rng.standard_normal((cameras, 3)) - np.array([0.0, 0.0, 10.0])
    made[:, 6] = rng.uniform(0.8, 1.2, cameras)
    made[:, 7:9] = 0.1 * rng.standard_normal((cameras, 2))
    made[:, 9:] = 0.05 * rng.standard_normal((cameras, 2))
    at = rng.standard_normal((points, 3))
    weights = rng.uniform(0.5, 1.5, observations)
    camera_of = rng.integers(0, cameras, observations)
    camera_of[0] = 0
    point_of = rng.integers(0, points, observations)
    ideal = [project(made[m], at[n]) for m, n in zip(camera_of, point_of, strict=True)]
    seen = np.array(ideal) + 0.1 * rng.standard_normal((observations, 2))
    return made, at, weights, camera_of, point_of, seen


CASES = [
    Case(
        name="bundle adjustment 10000",
        function=reprojection_error,
        argnums=(0, 1),
        inputs=partial(inputs, 10_000, 20, 2000),
        limit=reprojection_error_adjoint,
        tiny=partial(inputs, 20, 3, 5),
        sized=lambda extra: inputs(20 + extra, 9 + extra, 40 + extra),
        variants={"one by one": reprojection_error_adjoint_by_one},
        group="loop",
        texts={"jax": all_observations, "autograd": all_observations},
    ),
]
