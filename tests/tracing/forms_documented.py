"""Forms that NumPy documents and that few programs use, one line each."""

DOCUMENTED = {
    "integers": """
        np.abs(b)
        np.abs(i4.astype(np.uint8))
        np.sign(i4.astype(np.uint8))
        np.fmod(I,3)
        np.fmod(I,-2)
        np.fmod(i4.astype(np.uint16),np.uint16(2))
        np.round(I*17,-1)
        I.astype(np.int8)<300
        300>=I.astype(np.int8)
        np.equal(i4.astype(np.uint8),-1)
        np.not_equal(i4.astype(np.uint8),999)
        I<i4.astype(np.uint64)[0]
        i4.astype(np.uint64)>=np.int64(-1)
        i4.astype(np.uint64)==i4.astype(np.int64)
        np.clip(i4.astype(np.uint8),0,300)
        np.clip(I.astype(np.int8),-500,1)
        sum(I.astype(np.int8))
        sum(b)
        np.vecdot(i4,i4)
        np.mean(I,dtype=np.int64)
        (~len(x), len(x)&1, len(x)|4, len(x)^1, len(x)<<2, len(x)>>1, 64>>len(x[:3]))
        (pow(len(x),2,5), round(len(x),2))
        np.unwrap(I,period=4)
        np.unwrap(I*3,period=5)
    """,
    "dtypes": """
        np.array([f32[0],1.5])
        np.array([i4[0],1])
        np.array([f32[0],x[0]])
        np.asarray([[f32[0],1],[2,f32[1]]])
        np.select([x>0,x<-1],[f32,1])
        np.select([x>0],[i4[0]],default=f32[0])
        np.quantile(f32,[0.3])
        np.quantile(f32,0.3)
        np.percentile(f32,np.float64(40.0))
        np.quantile(I,0.3,method='lower')
        np.linspace(f32[0],2,4)
        np.linspace(f32,1,3)
        np.gradient(f32)
        np.gradient(f32,np.float32(0.5))
        np.vander(f32,3)
        np.vander(I,3)
        np.vander(x,0)
        np.cov(f32,f32*f32)
        np.corrcoef(f32,f32*f32)
        np.histogram(f32,3)[1]
        np.ascontiguousarray(x[0])
        np.add(x,y,signature='dd->d')
        np.add(x,y,signature=(None,None,np.float32))
        np.add(x,y,dtype=np.float32,casting='unsafe')
        np.add(x,y,out=np.zeros(x.shape,np.float32),casting='unsafe')
        np.add(A,1,order='F',subok=False)
        np.concatenate([x,y],dtype=int,casting='unsafe')
        x.astype(np.float32,casting='same_kind')
        np.zeros(3,device='cpu')+x[0]
        np.full(2,x[0],device='cpu')
        np.ones_like(x,device='cpu')*x
        np.array(A,order='F')*2
        np.asarray(A,order='F')+1
        A.reshape(A.shape[1],-1,copy=True)
    """,
    "places": """
        np.average(C,axis=(1,0),weights=np.abs(C[:,:,0].T))
        np.geomspace(P,2*P,4,axis=1)
        np.logspace(x,y,3,axis=1)
        np.logspace(0,1,P.size,base=P)
        np.linalg.trace(C)
        np.linalg.trace(C,offset=1)
        np.linalg.diagonal(C)
        np.linalg.diagonal(C,offset=-1)
        np.linalg.matmul(A,B)
        np.linalg.matrix_transpose(C)
        np.interp(x,[-2.0,0.0,2.0],[1.0,5.0,3.0],period=4.0)
        np.interp(x,[0.5,1.5,0.1],[1.0,5.0,3.0],period=2.0)
        np.interp(x,[-0.5],[3.0],left=0.0)
        np.cov(A,fweights=np.arange(A.shape[1])+1)
        np.cov(A,aweights=P)
        np.cov(A,fweights=np.arange(A.shape[1])+1,aweights=P,ddof=0)
        np.quantile(x,[0.0,0.21,0.3,0.5,0.9,1.0],method='inverted_cdf')
        np.quantile(x,[0.0,0.21,0.3,0.5,0.9,1.0],method='averaged_inverted_cdf')
        np.quantile(x,[0.0,0.21,0.31,0.47,0.9,1.0],method='closest_observation')
        np.quantile(A,[0.25,0.5,0.7],axis=0,method='averaged_inverted_cdf',keepdims=True)
        np.convolve(x[0],y)
    """,
    "along an axis": """
        np.bincount(I+3)*1.0
        np.bincount(I+3,minlength=9)*1.0
        np.sum(np.bincount(I+3,weights=x)**2)
        np.sum(np.sin(np.bincount(I+3,x,10)))
        np.add.reduceat(x,[0,2,1,4])
        np.add.reduceat(A,[0,2],axis=1)
        np.multiply.reduceat(x,[0,3,1])
        np.maximum.reduceat(A,[1,0])
        np.logaddexp.reduceat(x,[0,3])
        np.subtract.reduce(A,axis=1,keepdims=True)
        np.subtract.reduce(x,initial=2.0)
        np.divide.reduce(P)
        np.logaddexp.reduce(x)
        np.hypot.reduce(A,axis=1)
        np.fmax.reduce(A,axis=-1)
        np.bitwise_xor.reduce(I)
        np.logical_xor.reduce(b)
        np.subtract.accumulate(x)
        np.logaddexp.accumulate(A,axis=1)
        np.fmin.accumulate(x)
        np.logical_or.accumulate(b)
        np.apply_over_axes(np.sum,C,[0,2])
        np.apply_over_axes(np.mean,A,-1)
        np.sum(x[0],axis=0)
        np.max(x[:0],initial=x[0])
        np.nansum(A,axis=0,initial=1.0,where=AM)
        np.nanprod(A,axis=1,keepdims=True,initial=2.0)
        np.nanmean(A,axis=0,where=np.abs(A)<9)
        np.nanmax(A,axis=1,where=AM,initial=-5.0)
        np.nanmin(A,initial=0.0)
        np.nanvar(A,axis=0,mean=np.mean(A,axis=0,keepdims=True))
        np.nanstd(A,axis=1,correction=1)
        np.nanargmax(A)
        np.nanargmin(A,axis=1,keepdims=True)
    """,
    "methods": """
        x.compress(M)
        A.compress(M,axis=1)
        (I>0).astype(int).choose([x,y])
        x.argpartition(2)[2]
        x.view()*2
        A.item(3)
        np.float64(x[0])*y
        np.float32(x)
        np.int64(x[0])
        np.bool_(b[0])
        np.uint8(i4)
    """,
    "keys": """
        max([x[0],x[1],x[2]],key=lambda v:-v)
        min([x[0],x[1],x[2]],key=abs)
        min(range(3),key=lambda i:x[i])
        max([2.0,5.0,3.0],key=lambda i:x[0]*i)
        np.array(sorted([x[0],x[1],x[2]],key=lambda v:-v))
        np.array(sorted([x[0],x[1],x[2]],key=abs,reverse=True))
        np.where(all([x[0]>0,x[1]>0]),1.0,x[0])
        np.where(any([x[0]>0,x[1]>0,False]),1.0,x[0])
        math.comb(5,2)*math.gcd(12,8)*x[0]
        math.modf(x[0])
        math.ldexp(x[0],-3)
        range(1,x.size)[-1]*x[0]
    """,
}
