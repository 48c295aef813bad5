"""Forms of which the sizes or places are known at run time only, and rare arguments."""

FURTHER = {
    "counts": """
        np.sum(np.repeat(x,np.abs(I))**2)
        np.sum(np.repeat(A,np.abs(I),axis=1)**2)
        np.sum(np.sin(x.repeat(np.abs(I))))
        np.sum(np.repeat(x,M)**3)
        np.sum(np.repeat(x,i4[0])**2)
        np.repeat(I,np.abs(I))
    """,
    "sets": """
        np.unique(I)*1.0
        np.unique(x)
        np.unique(np.round(A))
        np.unique(I,True,True,True)
        np.unique(I,return_inverse=True)[1]*x
        np.unique([x[0],x[1],x[0]])
        np.unique_counts(I).counts
        np.unique_inverse(I).inverse_indices*x
        np.intersect1d(x,x[1:3])
        np.intersect1d(I,i4)
        np.union1d(x,y)
        np.setdiff1d(x,x[:2])
        np.setxor1d(x,y)
        np.trim_zeros(x*(x>0))
        np.trim_zeros(np.maximum(x,0),'b')
    """,
    "places": """
        np.argwhere(A>0)
        np.indices(A.shape)[1]*A
        np.indices(A.shape,sparse=True)[0]*A
        A[np.tril_indices_from(A)]
        A[np.triu_indices_from(A,1)]
        A[np.tril_indices(A.shape[0],0,A.shape[1])]
        S[np.diag_indices_from(S)]
        A[np.unravel_index(np.argmax(A),A.shape)]
        A[np.unravel_index(np.abs(I),A.shape,'F')]
        np.resize(x,7)
        np.resize(A,(2,3))
        np.zeros(np.broadcast_shapes(x.shape,A.shape))+x
        np.lib.stride_tricks.sliding_window_view(x,2)
        np.lib.stride_tricks.sliding_window_view(A,(2,3))
        np.lib.stride_tricks.sliding_window_view(A,(2,3),axis=(1,0))
        np.insert(x,[1,3],[1.0,2.0])
        np.insert(x,[3,1],y[:2])
        np.insert(A,[1,2],A[:2],axis=0)
        np.delete(x,slice(1,3))
        np.delete(x,x>0)
        np.delete(A,np.s_[::2],axis=1)
        np.compress([True,False],x)
        np.compress([1,0,1],A,axis=0)
        np.compress(A[0]>0,A,axis=1)
        np.extract([1,0,1],x)
        A.flat[3]
        A.T.flat[[1,2]]
    """,
    "weights": """
        np.quantile(x,.3,method='inverted_cdf',weights=P)
        np.quantile(x,[.1,.6],method='inverted_cdf',weights=P)
        np.quantile(A,.3,axis=1,method='inverted_cdf',weights=P)
        np.quantile(A,[.3,.8],axis=(0,1),method='inverted_cdf',weights=np.abs(A),keepdims=True)
        np.percentile(C,[[30,80]],axis=2,method='inverted_cdf',weights=P)
        np.quantile(x,0.0,method='inverted_cdf',weights=np.maximum(y,0)+np.eye(1,x.size)[0])
    """,
    "ufuncs": """
        np.exp([x[0],1.0])
        np.add([x[0],1],[2,x[1]])
        np.maximum.reduce([x,y])
        np.add(x,1,out=np.zeros_like(A))
        np.exp(x,out=np.ones_like(A),where=M)
        np.logaddexp.reduce(A,axis=None)
        np.hypot.reduce(C,axis=(0,2),keepdims=True)
        np.logaddexp.reduce(A,axis=1,where=AM,initial=1.0)
        np.subtract.reduce(A,axis=0,where=AM,initial=0.0)
        np.logical_and.reduce(b,initial=False)
        np.maximum.reduce(A,dtype=np.float32)
        np.matmul(C,D,axes=[(1,2),(1,2),(2,1)])
        np.matmul(A,x,axes=[(0,1),0,0])
        np.matmul(A,x,dtype=np.float32)
        np.vecdot(A,x,axes=[1,0,()])
        np.vecdot(A,A,keepdims=True)
    """,
    "dtypes": """
        np.sum(b,dtype=bool)
        np.prod(i4,axis=0,dtype=bool)
        np.sum(i4,initial=2.5)
        np.max(i4,initial=2.5)
        np.cumsum(x[0],axis=0)
        np.ptp([x,y],axis=0)
        np.angle(x)+x
        np.imag(x)+x
        np.isreal(x)*x
        len(x)**-1*x
    """,
    "results by position": """
        np.clip(x,-1,1,np.empty_like(x))
        np.round(x,1,np.empty_like(x))
        np.dot(A,B,np.empty((A.shape[0],B.shape[1])))
        np.concatenate([x,y],0,np.empty(2*x.size))
        np.take(A,[0,1],0,np.empty((2,A.shape[1])))
        np.divmod(x,P,where=M,out=(np.zeros_like(x),np.ones_like(x)))[1]
        np.modf(x,where=M,out=(np.zeros_like(x),np.ones_like(x)))[0]
        np.modf(i4)
        np.clip(x,0,1,dtype=np.float32)
        np.divmod(x,P,dtype=np.float64)[1]
    """,
    "calls": """
        np.vectorize(lambda v:v*v+1)(x)
        np.vectorize(lambda v,w:v*w if v>w else w)(A,y)
        np.vectorize(math.sin)(x[0])
        np.vectorize(lambda v:v*2,otypes=[np.float32])(A)
        np.fromfunction(lambda i,j:i*x[0]+j,(3,4))
        np.r_[x,y]
        np.r_[x[0],1,x]
        np.c_[x,y]
        np.c_[A,A]
        np.c_[A,A[:,0]]
        sp.powm1(P,y)
        sp.rgamma(y)
        sp.loggamma(P)
        sp.softplus(x)
    """,
    "folds": """
        np.logaddexp2.reduce(A,axis=1)
        np.heaviside.accumulate(A)
        np.hypot.reduce(x[:1])
        np.logaddexp.reduce(i4,axis=())
        np.maximum.reduceat(A,[0,2],dtype=np.float32)
    """,
    "quantiles": """
        np.nanquantile(np.where(A>0.5,np.nan,A),0.3,axis=1,method='lower')
        np.nanquantile(np.where(A>0.5,np.nan,A),[0.3,0.8],axis=0,method='hazen')
        np.nanquantile(np.where(A>0.5,np.nan,A),0.3,axis=0,method='midpoint')
        np.nanquantile(np.where(A>0.5,np.nan,A),0.3,method='averaged_inverted_cdf')
        np.nanquantile(np.where(A>0.5,np.nan,A),.3,1,method='inverted_cdf',weights=np.abs(A))
        np.nanquantile(f32,[0.2,0.7])
        np.digitize(i4,[3,2,1])
        np.digitize(i4,[3,2,1],right=True)
        np.histogram(x,[-1,0,1])
        np.std(f32,ddof=0.5)
        np.average(i4,weights=i4,returned=True)
        np.cross(A[:,:2],A[:,1:3])
        np.cross(A[:,:2],A[:,1:4])
        np.full((2,2),[[1],[2]])+x[0]
        np.full(2,[x[0],1])
        np.array(A,ndmax=2)
        math.fsum(i4)
    """,
    "scipy.linalg": """
        la.eigh(V,lower=False,eigvals_only=True,check_finite=False)
        la.eigh(V,V@V,eigvals_only=True,subset_by_index=[0,1])
        la.eigvalsh(V,V@V,type=2)
        la.eigvalsh(V,V@V,type=3,driver='gvd')
        la.solve(np.triu(V),A,assume_a='sym')
        la.solve(V,A,assume_a='lower triangular')
        la.solve(V,A,assume_a='upper triangular',transposed=True)
        la.solve(V,A,assume_a='diagonal')
        la.inv(np.tril(V),assume_a='pos',lower=True)
        la.inv(V,assume_a='upper triangular')
        la.lstsq(A.T,x)[0]
        la.lstsq(A.T,x,check_finite=False)[1]
        la.pinv(V,atol=1e-9,return_rank=True)[0]
        la.norm(A,check_finite=False)
        la.qr(V,mode='r')[0]
        la.qr(A.T,mode='r')[0]
        la.qr(A.T,mode='economic',check_finite=False)
        la.svd(A,full_matrices=False,lapack_driver='gesvd')[1]
        la.solveh_banded(np.stack([P*.01,P+2]),y)
        la.solveh_banded(np.stack([P+2,P*.01]),y,lower=True)
        la.solve_toeplitz((P+5*np.eye(1,x.size)[0],x),y)
        la.matmul_toeplitz(x,y)
        la.hankel(x,y[:3])
        la.hankel(x)
    """,
}
