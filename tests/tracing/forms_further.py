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
}
