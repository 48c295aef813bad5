"""Every form of the NumPy functions that tracing takes, against NumPy itself.

Each text below is the body of a function that is written to a source file, staged, traced,
verified, run by the IR interpreter, and compared in value, shape and dtype. Each is run again,
from the same trace, for other sizes: it must agree, or a guard must fail.
"""

import inspect
import linecache
import math
import re

import numpy as np
import pytest
import scipy.linalg
import scipy.special

from tests.tracing.conftest import assert_like_numpy, check, run, trace
from tracegrad.errors import GuardFailed

FORMS = {
    "operators": """
        x+y
        x-1
        2/x
        x**2
        x**0.5
        2**x
        x//2
        x%3
        -x
        +x
        abs(x)
        x@y
        A@x
        x@B
        A@B
        C@D
        C@B
        C@x
        A.T@A
        x<y
        (x<y)&(x>0)
        ~(x<y)
        (x<0)|(y<0)
    """,
    "dtypes": """
        f32+1
        f32*2.5
        f32+x
        f32*np.float64(2)
        i4+1
        i4*2.0
        i4/2
        i4//2
        i4%2
        i4**2
        b+b
        b*b
        b&b
        b|b
        b^b
        ~b
        b*2.5
        b==b
        b+1
        i4&1
        i4<<1
        i4>>1
        ~i4
    """,
    "elementwise": """
        np.sin(x)
        np.exp2(x)
        np.cbrt(x)
        np.hypot(x,y)
        np.arctan2(x,y)
        np.maximum(x,0)
        np.minimum(x,y)
        np.fmax(x,y)
        np.fmin(x,1)
        np.sign(x)
        np.floor(x)
        np.ceil(x)
        np.trunc(x)
        np.rint(x)
        np.logaddexp(x,y)
        np.logaddexp2(x,y)
        np.deg2rad(x)
        np.degrees(x)
        np.heaviside(x,0.5)
        np.copysign(x,y)
        np.float_power(i4,2)
        np.reciprocal(x)
        np.square(i4)
        np.positive(x)
        np.isnan(x)
        np.isfinite(i4)
        np.isnan(i4)
        np.signbit(x)
        np.fabs(i4)
        np.logical_and(x,y)
        np.logical_not(i4)
        np.logical_xor(b,True)
        np.mod(x,2)
        np.fmod(x,2)
        np.divmod(x,2)
        np.modf(x)
        np.true_divide(i4,2)
        np.power(i4,2)
        np.bitwise_and(i4,3)
        np.sin(i4)
        np.sqrt(P)
        np.abs(i4)
        np.negative(i4)
        np.sinc(x)
        np.round(x,1)
        np.round(x)
        x.round(2)
        np.fix(x)
        np.nan_to_num(x)
        np.clip(x,-.5,.5)
        np.clip(x,None,.5)
        np.clip(x,y,2)
        x.clip(0,1)
        np.clip(i4,2,3)
        np.where(x>0,x,0)
        np.where(M,1,0)
        np.where(M,f32,0.)
        np.where(A>0,x,1.)
        np.where(x>0,i4[0],2)
        np.select([x>1,x>0],[x,2*x],-1.0)
        np.piecewise(x,[x<0,x>=0],[lambda v:-v,lambda v:v*2])
        np.isclose(x,y)
        np.sin(2.0)+x
        x.real
        np.real(x)
        np.add(x,y,dtype=np.float64)
    """,
    "reductions": """
        np.sum(x)
        np.sum(A,0)
        np.sum(A,axis=-1,keepdims=True)
        np.sum(C,axis=(0,2))
        A.sum()
        A.sum(axis=1)
        np.sum(i4)
        np.sum(b)
        np.sum(A,where=AM)
        np.sum(A,axis=1,initial=2.0)
        np.sum(f32,dtype=np.float64)
        np.sum(A,axis=())
        np.mean(A)
        np.mean(A,1)
        np.mean(i4)
        np.mean(f32)
        np.mean(A,axis=(0,1),keepdims=True)
        np.mean(A,axis=0,where=AM)
        np.mean(b)
        np.var(A)
        np.var(A,0,ddof=1)
        np.std(A,axis=1,keepdims=True)
        x.std()
        x.var(ddof=1)
        np.prod(x)
        np.prod(A,1)
        np.max(A)
        np.max(A,1,keepdims=True)
        A.min(0)
        np.amax(x)
        np.max(b)
        np.max(x,initial=3.0)
        np.min(A,axis=0,where=AM,initial=9.)
        np.ptp(A,axis=1)
        np.any(A>1)
        np.all(A>-9,axis=0)
        np.any(b)
        np.all(x)
        np.argmax(A)
        np.argmin(A,1)
        np.argmax(A,axis=0,keepdims=True)
        np.count_nonzero(A>0)
        np.count_nonzero(A,axis=1)
        np.cumsum(x)
        np.cumsum(A)
        np.cumsum(A,axis=1)
        np.cumsum(i4)
        np.average(x)
        np.average(x,weights=P)
        np.average(A,axis=1,weights=P)
        np.average(A,axis=0,weights=np.abs(A),returned=True)
        np.nansum(x)
        np.nanmean(A,0)
        np.nanmax(A,1)
        np.nanmin(x)
        np.nanstd(A,axis=1)
        np.nanprod(x)
        np.diff(x)
        np.diff(A,axis=0)
        np.diff(x,n=2)
        np.ediff1d(A)
        np.trapezoid(x)
        np.trapezoid(A,x)
        np.trapezoid(A,dx=.5,axis=0)
        np.add.reduce(A)
        np.add.reduce(A,axis=1)
        np.multiply.reduce(x)
        np.maximum.reduce(A,axis=None)
        np.add.accumulate(A)
        np.add.outer(x,y)
        np.multiply.outer(A,x)
        np.subtract.outer(x,y)
    """,
    "norms": """
        np.linalg.norm(x)
        np.linalg.norm(A)
        np.linalg.norm(A,axis=1)
        np.linalg.norm(A,'fro')
        np.linalg.norm(x,1)
        np.linalg.norm(x,np.inf)
        np.linalg.norm(x,-np.inf)
        np.linalg.norm(x,3)
        np.linalg.norm(x,0)
        np.linalg.norm(A,1)
        np.linalg.norm(A,np.inf)
        np.linalg.norm(C,axis=(1,2))
        np.linalg.norm(A,axis=0,keepdims=True)
        np.linalg.norm(A,ord=1,axis=(0,1),keepdims=True)
    """,
    "products": """
        np.dot(x,y)
        np.dot(A,x)
        np.dot(A,B)
        np.dot(2.0,x)
        np.dot(C,x)
        np.dot(A,D)
        np.inner(x,y)
        np.inner(A,A)
        np.outer(x,y)
        np.outer(A,x)
        np.vdot(A,A)
        np.tensordot(A,B,1)
        np.tensordot(C,D,axes=([0,2],[0,1]))
        np.tensordot(x,y,0)
        np.trace(S)
        np.trace(A,offset=1)
        np.kron(x,y)
        np.kron(A,S)
        np.cross(i4*1.5,x[:3])
        np.linalg.multi_dot([A,B,B.T])
        np.linalg.matrix_power(S,3)
        np.linalg.matrix_power(S,0)
        np.matmul(C,D)
        np.matmul(i4,i4)
        i4@np.ones((3,2))
        A.dot(B)
        np.vecdot(A,A)
        x@D
    """,
    "einsum": """
        np.einsum('ij,jk->ik',A,B)
        np.einsum('ij,jk',A,B)
        np.einsum('ii',S)
        np.einsum('ii->i',S)
        np.einsum('ij->ji',A)
        np.einsum('ij->',A)
        np.einsum('bij,bjk->bik',C,D)
        np.einsum('...j,j->...',C,x)
        np.einsum('ij,ij->i',A,A)
        np.einsum('i,j->ij',x,y)
        np.einsum('i,i',x,y)
        np.einsum('ij,j,i->',A,x,A[:,0])
        np.einsum('bij,bij->',C,C)
        np.einsum('...ij,...jk->...ik',C,D)
        np.einsum('ijk,jkl->il',C,E)
    """,
    "reading": """
        x[0]
        x[-1]
        x[1:]
        x[:-1]
        x[::2]
        x[::-1]
        x[3:0:-1]
        x[10:]
        x[-3:]
        x[1:-1]
        x[:3]
        x[2:2]
        A[0]
        A[:,0]
        A[1:3,::2]
        A[...,0]
        A[None]
        A[:,None,:]
        A[-1,-1]
        A[0,...]
        x[I]
        x[[0,1,1]]
        A[I[:3]]
        A[:,I]
        A[I[:2],I[:2]]
        A[[0,1],1:]
        C[:,I[:2]]
        C[0,:,I[:3]]
        C[:,[0,1],[1,2]]
        C[[0,1],:,[1,2]]
        C[I[:1],0]
        x[M]
        A[AM]
        A[M[:4]]
        A[:,M]
        C[:,AM]
        A[M[:4],0]
        x[I[:,None]]
        A[1,I]
        x[np.array([],dtype=int)]
        x[()]
        x[...]
        A[1][2]
        x[True*1]
        np.take(x,I)
        np.take(A,[0,1],axis=1)
        np.take(A,2)
        x.take(I)
        np.take_along_axis(A,np.argmax(A,1)[:,None],1)
        np.compress(M,x)
        np.extract(A>0,A)
        np.nonzero(x>0)
        np.where(x>0)
        np.flatnonzero(A>0)
        x[x>0].sum()
        x[M]*y[M]
        x[x>0]+y[x>0]
        A[None,1:,None,I]
        A[np.array([[0,1],[2,3]])]
    """,
    "shapes": """
        A.reshape(20)
        A.reshape(-1)
        A.reshape(2,-1)
        A.reshape((5,4))
        np.reshape(A,(2,2,5))
        A.reshape(2,10,order='F')
        A.ravel()
        A.flatten()
        A.T
        C.transpose(1,0,2)
        np.transpose(C,(2,0,1))
        C.swapaxes(0,2)
        np.moveaxis(C,0,-1)
        np.rollaxis(C,2)
        np.expand_dims(x,0)
        np.expand_dims(A,(0,3))
        np.squeeze(A[None])
        A[:,:1].squeeze()
        np.squeeze(A[None],axis=0)
        np.broadcast_to(x,(3,5))
        np.broadcast_arrays(x,A)
        np.atleast_1d(x[0])
        np.atleast_2d(x)
        np.atleast_3d(x,A)
        np.concatenate([x,y])
        np.concatenate([A,A],axis=1)
        np.concatenate([A,A],axis=None)
        np.concatenate([x,i4])
        np.stack([x,y])
        np.stack([x,y],axis=-1)
        np.hstack([x,y])
        np.hstack([A,A])
        np.vstack([x,y])
        np.dstack([x,y])
        np.column_stack([x,y])
        np.append(x,1.0)
        np.block([[A,A],[A,A]])
        np.split(x,5)
        np.split(A,[1,3])
        np.array_split(x,2)
        np.hsplit(A,5)
        np.vsplit(A,2)
        np.flip(A)
        np.flip(A,0)
        np.fliplr(A)
        np.flipud(A)
        np.rot90(A)
        np.rot90(A,2)
        np.rot90(A,3)
        np.roll(x,2)
        np.roll(A,1,axis=1)
        np.roll(A,-1)
        np.roll(A,(1,2),axis=(0,1))
        np.tile(x,2)
        np.tile(A,(2,3))
        np.tile(x,(2,2))
        np.repeat(x,2)
        np.repeat(A,2,axis=0)
        np.repeat(x,[1,2,0,1,1])
        np.pad(x,2)
        np.pad(A,((1,0),(2,1)))
        np.pad(x,(1,2),constant_values=3.)
        np.pad(x,2,mode='edge')
        np.pad(x,2,mode='wrap')
        np.pad(x,2,mode='reflect')
        np.pad(A,1,mode='symmetric')
        np.diag(x)
        np.diag(A)
        np.diag(x,1)
        np.diag(x,-2)
        np.diagonal(A,1)
        np.diagonal(A,-1)
        C.diagonal(0,1,2)
        np.tril(A)
        np.triu(A,1)
        np.tril(x)
        np.meshgrid(x,y[:3])
        np.meshgrid(x,y,indexing='ij')
        np.copy(x)
        x.copy()
        x.astype(np.float32)
        x.astype(int)
        np.diagflat(x)
        np.vander(x,3)
        np.matrix_transpose(C)
        A.mT
    """,
    "creation": """
        np.zeros(3)+x[:3]
        np.zeros(x.shape)
        np.ones((2,x.shape[0]))
        np.full(x.shape,2.5)
        np.full(3,x[0])
        np.eye(3)*x[0]
        np.eye(x.shape[0])
        np.eye(x.shape[0],3,1)
        np.identity(x.size)
        np.arange(x.shape[0])
        np.arange(1,x.shape[0],2)
        np.arange(1.0,x.shape[0]+1)
        np.arange(0,x.shape[0],2.0)
        np.arange(x.shape[0])*x
        np.linspace(0,1,x.shape[0])
        np.linspace(x[0],x[1],7)
        np.linspace(0,x[0],4,endpoint=False)
        np.zeros_like(x)
        np.ones_like(A,dtype=np.float32)
        np.full_like(x,3)
        np.empty_like(i4)*0
        np.array([x[0],x[1],2.0])
        np.array([[x[0],1],[2,x[1]]])
        np.array(x)
        np.asarray(x)
        np.array([1,2,3])*x[0]
        np.tri(3)*x[0]
        np.array([x,y])
        len(x)*x
        x.shape[0]*2.5
        x.size
        x.ndim
        np.shape(A)
        np.size(A,1)
        A.shape
        x/x.size
        x/len(x)
        x*x.shape[0]**2
        x[x.shape[0]//2]
        x[:x.shape[0]//2]
        x.sum()/(x.size-1)
        np.sqrt(x.size)
        max(x.shape[0],3)
        min(x.shape[0],3)*x
        float(x.size)*x
        A.nbytes
        np.ndim(A)
    """,
    "python": """
        math.sin(x[0])
        math.sqrt(P[0])
        math.log(P[0])
        math.log(P[0],2)
        math.exp(x[0])*f32
        math.erf(x[0])
        math.hypot(x[0],x[1])
        math.floor(x[0])
        math.ceil(x[0])
        math.pow(P[0],1.5)
        math.atan2(x[0],x[1])
        math.fabs(x[0])
        math.prod([x[0],x[1]])
        math.fsum(x)
        math.radians(x[0])
        math.lgamma(P[0])
        float(x[0])
        int(x[0])
        max(x[0],x[1])
        max(x[0],0.0)
        min(x[0],x[1],x[2])
        sum([x[0],x[1]])
        sum(x)
        max(x)
        abs(x[0])
        pow(P[0],2)
        round(x[0],1)
        divmod(x[0],2)
        sum(A)
        sum(v*v for v in x)
        [v*2 for v in x]
        any(x>0)
        all(x>-9)
        {'a':x,'b':(x[0],None,'s')}
        x[0].item()*f32
        A.tolist()[0][0]
        isinstance(x,np.ndarray)
        isinstance(x[0],float)
        np.isscalar(x[0])
        dict(zip('abcde',x))
        list(enumerate(x))
        list(reversed(x))
        sorted([3,1])[0]*x
    """,
    "ordering": """
        np.sort(x)
        np.sort(A, axis=0)
        np.sort(A, axis=None)
        np.argsort(x)
        np.argsort(A, axis=0)
        x[np.argsort(x)]
        np.searchsorted(np.sort(x), y)
        np.searchsorted(np.sort(x), y[0], side='right')
        np.median(x)
        np.median(A)
        np.median(A, axis=0)
        np.median(A, axis=1, keepdims=True)
        np.median(C, axis=(0, 2))
        np.quantile(x, 0.3)
        np.quantile(A, [0.1, 0.5, 1.0], axis=1)
        np.quantile(A, 0.25, axis=(0, 1), keepdims=True)
        np.percentile(x, 40)
        np.percentile(A, [5, 50], axis=0, keepdims=True)
        np.interp(y, np.sort(x), P)
        np.interp(y, np.sort(x), P, left=-1.0, right=2.0)
        np.interp(0.2, np.sort(x), P)
        np.cumprod(x)
        np.cumprod(A, axis=1)
        x.cumprod()
    """,
    "filters": """
        np.convolve(x, y)
        np.convolve(x, y[:3], 'same')
        np.convolve(y[:2], x, 'same')
        np.convolve(x, y[:2], 'valid')
        np.convolve(y[:3], x, 'valid')
        np.correlate(x, y)
        np.correlate(x, y[:3])
        np.correlate(y[:3], x, 'full')
        np.correlate(x, y[:2], 'same')
        np.correlate(y[:3], x, 'same')
        np.correlate(i4, i4, 'full')
        np.gradient(x)
        np.gradient(x, 0.5)
        np.gradient(x, np.cumsum(P))
        np.gradient(x, np.cumsum(P), edge_order=2)
        np.gradient(A)
        np.gradient(A, 2.0, axis=1)
        np.gradient(A, 0.5, 2.0, edge_order=2)
        np.unwrap(x * 9.0)
        np.unwrap(A * 9.0, axis=0)
        np.unwrap(x * 9.0, period=4.0)
        np.polyval(x, 0.5)
        np.polyval(x, y)
        np.polyval([1.0, 2.0, 3.0], A)
        np.polyadd(x, y[:3])
        np.polysub(y[:3], x)
        np.polymul(x, y[:2])
        np.polyder(x)
        np.polyder(x, 2)
        np.polyint(x)
        np.polyint(x, 2, k=[1.0, 2.0])
    """,
    "statistics": """
        np.cov(A)
        np.cov(x)
        np.cov(x, y)
        np.cov(A, rowvar=False, bias=True)
        np.cov(A, ddof=0)
        np.corrcoef(A)
        np.corrcoef(x, y)
        np.nanquantile(np.where(A > 0.5, np.nan, A), 0.3)
        np.nanquantile(np.where(A > 0.5, np.nan, A), 0.3, axis=0, keepdims=True)
        np.nanquantile(np.where(A > 0.5, np.nan, A), [0.1, 0.7], axis=1)
        np.nanpercentile(np.where(A > 0.5, np.nan, A), 30.0, axis=0)
        np.nanmedian(np.where(A > 0.5, np.nan, A))
        np.nanmedian(np.where(A > 0.5, np.nan, A), axis=1)
        np.nancumsum(np.where(x > 0.5, np.nan, x))
        np.nancumprod(np.where(x > 0.5, np.nan, x))
        np.digitize(x, np.array([-1.0, 0.0, 0.5]))
        np.digitize(x, np.array([0.5, 0.0, -1.0]), right=True)
        np.histogram(x, 4)[0]
        np.histogram(x, 4)[1]
        np.histogram(x, 4, range=(-1.0, 1.0))[0]
        np.histogram(x, np.array([-1.0, 0.0, 0.5, 2.0]), weights=y)[0]
        np.histogram(x, 4, density=True)[0]
        np.allclose(x, x + 1e-12)
        np.array_equal(x, y)
        np.array_equal(x, A)
        np.isin(I, [0, 2])
        np.isin(I, [0, 2], invert=True)
        np.isposinf(x / 0.0)
        np.isneginf(x / 0.0)
        np.sort(np.partition(x, 2))
        np.choose(np.abs(I) % 3, [x, y, P])
        np.choose(I, [x, y, P], mode='clip')
        np.choose(I, [x, y, P], mode='wrap')
        np.geomspace(P[0], P[1] + 1, 5)
        np.logspace(x[0], y[0], 5)
        np.cumulative_sum(x)
        np.cumulative_prod(A, axis=1)
    """,
    "linear algebra": """
        np.linalg.solve(V, S)
        np.linalg.solve(V, np.sum(S, axis=0))
        np.linalg.solve(W, S)
        np.linalg.inv(V)
        np.linalg.inv(W)
        np.linalg.det(V)
        np.linalg.det(W)
        np.linalg.slogdet(V)
        np.linalg.slogdet(W)
        np.linalg.cholesky(V)
        np.linalg.cholesky(W)
        np.linalg.eigvalsh(V)
        np.linalg.eigvalsh(W)
        np.linalg.eigh(V)[0]
        np.abs(np.linalg.eigh(V).eigenvectors)
        np.linalg.svd(S, compute_uv=False)
        np.linalg.svd(A, full_matrices=False)[1]
        np.abs(np.linalg.svd(A.T, full_matrices=False)[0])
        np.abs(np.linalg.svd(A, full_matrices=False)[2])
        np.linalg.svd(C, full_matrices=False)[1]
        np.linalg.qr(A.T)[0]
        np.linalg.qr(A.T)[1]
        np.linalg.qr(A)[1]
        np.linalg.qr(A.T, mode='r')
        np.linalg.pinv(A)
        np.linalg.pinv(A.T)
        np.linalg.pinv(C)
        np.linalg.lstsq(A.T, x, rcond=None)[0]
        np.linalg.lstsq(A.T, B, rcond=None)[1]
        np.linalg.lstsq(A.T, x, rcond=None)[2]
        np.linalg.cond(V)
        np.linalg.cond(V, 1)
        np.linalg.matrix_rank(A)
        np.linalg.norm(A, 2)
        np.linalg.norm(A, -2)
        np.linalg.norm(A, 'nuc')
        np.linalg.matrix_power(V, -2)
        np.linalg.tensorinv(V, ind=1)
        np.linalg.tensorsolve(V, np.sum(S, axis=0))
        la.solve_triangular(V, S, lower=True)
        la.solve_triangular(V, S, trans=1)
        la.solve_triangular(V, np.sum(S, axis=0), unit_diagonal=True)
        la.cholesky(V)
        la.cholesky(V, lower=True)
        la.cho_solve(la.cho_factor(V), S)
        la.cho_solve(la.cho_factor(V, lower=True), S)
        la.solve(V, S)
        la.solve(V, S, assume_a='pos')
        la.inv(V)
        la.det(V)
        la.eigh(V, eigvals_only=True)
        la.eigvalsh(V)
        la.svdvals(A)
        la.pinv(A)
        la.norm(A)
        la.qr(A.T, mode='economic')[1]
        la.expm(S)
        la.expm(V / 8.0)
        la.block_diag(A, B, S)
        la.toeplitz(x)
        la.toeplitz(x, P)
        la.circulant(x)
    """,
    "scipy": """
        sp.expit(x)
        sp.logit(P / (1 + P))
        sp.log_expit(x)
        sp.erf(x)
        sp.erfc(x)
        sp.ndtr(x)
        sp.gammaln(P)
        sp.digamma(P)
        sp.psi(P)
        sp.polygamma(1, P)
        sp.polygamma(0, P)
        sp.betaln(P, P + 1)
        sp.logsumexp(x)
        sp.logsumexp(A, axis=1)
        sp.logsumexp(A, axis=0, keepdims=True)
        sp.logsumexp(A, axis=1, b=P)
        sp.logsumexp(np.where(A > 0, A, -np.inf), axis=1)
        sp.softmax(x)
        sp.log_ndtr(x)
        sp.log_ndtr(x * 30)
        sp.log_ndtr(f32 * 30)
        sp.beta(P, P + 1)
        sp.beta(P + 60, P)
        sp.boxcox(P, x)
        sp.boxcox(P, 0.0)
        sp.boxcox1p(P, x)
        sp.inv_boxcox(P, P)
        sp.inv_boxcox1p(P, P)
        sp.exp10(x)
        sp.exprel(x)
        sp.exprel(x * 1e-6)
        sp.huber(P, x)
        sp.pseudo_huber(P, x)
        sp.cosm1(x)
        sp.poch(P, 2.0)
        sp.sindg(x * 90)
        sp.cosdg(x * 90)
        sp.tandg(x * 30)
        sp.radian(x, P, P)
        sp.multigammaln(P + 2, 3)
        sp.softmax(A, axis=1)
        sp.log_softmax(A, axis=0)
        sp.xlogy(x * (x > 0), P)
        sp.xlog1py(x, P)
        sp.entr(P)
        sp.entr(x)
        sp.rel_entr(P, P + 1)
        sp.kl_div(P, P * 2)
        sp.expit(f32)
    """,
}

CASES = [
    pytest.param(text.strip(), id=f"{group}: {text.strip()}")
    for group, texts in FORMS.items()
    for text in texts.strip().splitlines()
]


def inputs(n, m, k, b, integers):
    """Arrays whose shapes fit together, by the names the forms use."""
    rng = np.random.default_rng(n)
    x = rng.normal(size=m)
    A = rng.normal(size=(n, m))
    return {
        "x": x,
        "y": rng.normal(size=m),
        "P": np.abs(x) + 0.1,
        "M": x > 0,
        "f32": x.astype(np.float32),
        "I": np.concatenate([[0], rng.integers(-3, 3, size=m - 1)]),
        "i4": np.arange(1, integers + 1, dtype=np.int32),
        "b": rng.random(integers) > 0.5,
        "A": A,
        "AM": A > 0,
        "B": rng.normal(size=(m, k)),
        "C": rng.normal(size=(b, n, m)),
        "D": rng.normal(size=(b, m, k)),
        "E": rng.normal(size=(n, m, 2)),
        "S": rng.normal(size=(n, n)),
        "V": positive(rng, (n, n)),
        "W": positive(rng, (b, n, n)),
    }


def positive(rng, shape):
    """Symmetric matrices with positive eigenvalues."""
    x = rng.normal(size=shape)
    return x @ np.swapaxes(x, -1, -2) + shape[-1] * np.eye(shape[-1])


SMALL = inputs(4, 5, 3, 2, 3)
LARGE = inputs(11, 12, 10, 9, 12)
LARGER = inputs(14, 16, 13, 12, 16)


def function_of(text):
    """A function with ``text`` as its body, with source that staging finds."""
    names = [name for name in SMALL if re.search(r"(?<![\w.'])" + name + r"(?![\w'])", text)]
    source = f"def form({', '.join(names)}):\n    return {text}\n"
    filename = f"<form {text}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    namespace = {"np": np, "math": math, "sp": scipy.special, "la": scipy.linalg}
    exec(compile(source, filename, "exec"), namespace)
    return namespace["form"]


def arguments(function, values):
    return [values[name] for name in inspect.signature(function).parameters]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("text", CASES)
def test_a_form_does_what_numpy_does(text):
    function = function_of(text)
    check(function, *arguments(function, SMALL))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("text", CASES)
def test_a_trace_serves_other_sizes_or_says_so(text):
    function = function_of(text)
    first, second = arguments(function, LARGE), arguments(function, LARGER)
    try:
        expected, again = function(*first), function(*second)
    except (ValueError, IndexError):
        pytest.skip("NumPy itself does not take these sizes")
    traced = trace(function, *first)
    assert_like_numpy(run(traced, *first), expected)
    if text.startswith(("[", "A.tolist", "dict", "list")):
        with pytest.raises(GuardFailed):
            run(traced, *second)  # unrolled
    else:
        assert_like_numpy(run(traced, *second), again)
