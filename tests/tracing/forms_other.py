"""Forms that read, make and order arrays, and those of libraries, one line each."""

OTHER = {
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
        la.logm(V)
        la.expm(np.stack([S, S / 2.0]))
        la.logm(np.stack([V, V / 2.0]))
        la.solve_banded((1, 1), np.stack([x, 3.0 + x * x, x]), x)
        la.solve_banded((0, 2), np.stack([x, -x, 2.0 + x * x]), np.outer(x, x))
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
