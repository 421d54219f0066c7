// libgrpo_cuda.so: the table of CUDA kernels, with cuBLASLt's products beside our own, and the recording of graphs. What it takes from LibTorch's CUDA part is there when it is loaded (kernels/device.cpp).
#include <ATen/ATen.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAStream.h>
#include <cublasLt.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>

#include "grpo/error.h"
#include "kernels/backend.h"
#include "kernels/cuda/kernels.h"

namespace grpo::cuda {
namespace {

using kernel::Type;

void check(cudaError_t error, const char* call) {
  if (error != cudaSuccess) throw Error("cuda", call, ": ", cudaGetErrorString(error));
}
void check(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS) throw Error("cuda", call, ": cuBLASLt status ", static_cast<int>(status));
}

constexpr size_t kWorkspace = 32 << 20;

// One device's handle and workspace: all products of a device go through one stream at a time.
struct Products {
  cublasLtHandle_t handle = nullptr;
  void* workspace = nullptr;

  static const Products& current() {
    static std::map<int, Products> all;
    static std::mutex mutex;
    int device;
    check(cudaGetDevice(&device), "cudaGetDevice");
    const std::lock_guard lock(mutex);
    Products& mine = all[device];
    if (!mine.handle) check(cublasLtCreate(&mine.handle), "cublasLtCreate");
    if (!mine.workspace) check(cudaMalloc(&mine.workspace, kWorkspace), "cudaMalloc");
    return mine;
  }
};

cudaDataType_t data_type(Type type) { return type == Type::f32 ? CUDA_R_32F : CUDA_R_16BF; }

// A matrix as cuBLASLt sees it, column by column: of ours, with rows one behind the other, that is the transpose.
struct Operand {
  bool transposed;
  int64_t rows, columns, leading;

  Operand(const kernel::MatrixRef& m, int64_t rows_, int64_t columns_)
      : transposed(m.col_stride != 1 || (m.row_stride == 1 && columns_ == 1)),
        rows(transposed ? rows_ : columns_),
        columns(transposed ? columns_ : rows_),
        leading(std::max(rows, transposed ? m.col_stride : m.row_stride)) {}
};

uint32_t alignment(const void* p) {
  return static_cast<uint32_t>(std::min<uintptr_t>(256, uintptr_t{1} << std::countr_zero(reinterpret_cast<uintptr_t>(p))));
}

// What tells one product from another when an algorithm is chosen.
using Shape = std::tuple<int, Type, Type, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, bool, bool, bool, uint32_t,
                         uint32_t, uint32_t>;

// A product with the description that cuBLASLt asks for.
class Product {
 public:
  Product(Type in, Type out, int64_t m, int64_t n, int64_t k, const kernel::MatrixRef& a, const kernel::MatrixRef& b,
          int64_t c_stride)
      : first_(b, k, n), second_(a, m, k) {
    check(cublasLtMatmulDescCreate(&description_, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
    const cublasOperation_t first = first_.transposed ? CUBLAS_OP_T : CUBLAS_OP_N,
                            second = second_.transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasLtMatmulDescSetAttribute(description_, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof(first));
    cublasLtMatmulDescSetAttribute(description_, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof(second));
    check(cublasLtMatrixLayoutCreate(&a_, data_type(in), first_.rows, first_.columns, first_.leading), "layout");
    check(cublasLtMatrixLayoutCreate(&b_, data_type(in), second_.rows, second_.columns, second_.leading), "layout");
    check(cublasLtMatrixLayoutCreate(&c_, data_type(out), n, m, c_stride), "layout");
  }
  ~Product() {
    for (cublasLtMatrixLayout_t layout : {a_, b_, c_})
      if (layout) cublasLtMatrixLayoutDestroy(layout);
    cublasLtMatmulDescDestroy(description_);
  }
  Product(const Product&) = delete;

  // No split of k: a row's sum goes in one order, however many rows there are. `usable_for` is another product that the
  // algorithm must serve.
  cublasLtMatmulAlgo_t choose(cublasLtHandle_t handle, uint32_t a, uint32_t b, uint32_t c, const Product& usable_for) const {
    cublasLtMatmulPreference_t preference;
    check(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
    const uint32_t no_reduction = CUBLASLT_REDUCTION_SCHEME_NONE;
    const auto set = [&](cublasLtMatmulPreferenceAttributes_t which, const auto& value) {
      cublasLtMatmulPreferenceSetAttribute(preference, which, &value, sizeof(value));
    };
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, no_reduction);
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspace);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, b);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, a);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, c);
    constexpr int kTried = 8;
    cublasLtMatmulHeuristicResult_t found[kTried], checked;
    int count = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(handle, description_, a_, b_, c_, c_, preference, kTried, found, &count);
    cublasLtMatmulPreferenceDestroy(preference);
    check(status, "cublasLtMatmulAlgoGetHeuristic");
    for (int i = 0; i < count; ++i)
      if (cublasLtMatmulAlgoCheck(handle, description_, usable_for.a_, usable_for.b_, usable_for.c_, usable_for.c_,
                                  &found[i].algo, &checked) == CUBLAS_STATUS_SUCCESS)
        return found[i].algo;
    throw Error("cuda", "expected a product of cuBLASLt's for this shape, found none");
  }

  void run(const Products& with, const cublasLtMatmulAlgo_t& algorithm, const void* a, const void* b, void* c,
           bool accumulate, cudaStream_t stream) const {
    const float one = 1.0f, before = accumulate ? 1.0f : 0.0f;
    check(cublasLtMatmul(with.handle, description_, &one, b, a_, a, b_, &before, c, c_, c, c_, &algorithm,
                         with.workspace, kWorkspace, stream),
          "cublasLtMatmul");
  }

  const Operand& first() const { return first_; }
  const Operand& second() const { return second_; }

 private:
  Operand first_, second_;
  cublasLtMatmulDesc_t description_ = nullptr;
  cublasLtMatrixLayout_t a_ = nullptr, b_ = nullptr, c_ = nullptr;
};

void gemm(Stream stream, Type in, Type out, int64_t m, int64_t n, int64_t k, const kernel::MatrixRef& a,
          const kernel::MatrixRef& b, void* c, int64_t c_stride, bool accumulate) {
  if (m == 0 || n == 0) return;
  const auto queue = static_cast<cudaStream_t>(stream.handle);
  if (k == 0) {
    if (accumulate) return;
    check(cudaMemset2DAsync(c, c_stride * (out == Type::f32 ? 4 : 2), 0, n * (out == Type::f32 ? 4 : 2), m, queue),
          "cudaMemset2DAsync");
    return;
  }
  constexpr int64_t kFewColumns = 512;  // of a router: libraries' fp32 products do not keep a row's bits
  if (in == Type::f32 && n <= kFewColumns && !accumulate && c_stride == n && a.col_stride == 1 && a.row_stride == k &&
      b.row_stride == 1 && b.col_stride == k)
    return narrow_product(stream, m, n, k, static_cast<const float*>(a.data), static_cast<const float*>(b.data),
                          static_cast<float*>(c));
  const Products& with = Products::current();
  const Product product(in, out, m, n, k, a, b, c_stride);
  int device;
  check(cudaGetDevice(&device), "cudaGetDevice");
  const Shape shape{device, in, out, m, n, k, product.first().leading, product.second().leading, c_stride,
                    product.first().transposed, product.second().transposed, accumulate, alignment(a.data),
                    alignment(b.data), alignment(c)};
  static std::map<Shape, cublasLtMatmulAlgo_t> chosen;
  static std::mutex mutex;
  cublasLtMatmulAlgo_t algorithm;
  {
    const std::lock_guard lock(mutex);
    const auto known = chosen.find(shape);
    if (known == chosen.end()) {
      // For few rows libraries have products that add up in an order of their own, and slow ones without split sums.
      const int64_t usual = k >= 2 * n ? 512 : 128;
      constexpr int64_t kWide = 32768;
      const bool few = m < usual && in == Type::bf16 && a.col_stride == 1 && n < kWide;
      const Product many(in, out, few ? usual : m, n, k, a, b, c_stride);
      chosen[shape] = many.choose(with.handle, alignment(a.data), alignment(b.data), alignment(c), product);
    }
    algorithm = chosen.at(shape);
  }
  product.run(with, algorithm, a.data, b.data, c, accumulate, queue);
}

// A graph in LibTorch's form. All share one pool of memory: they run one behind the other.
class Recorded : public kernel::Graph {
 public:
  explicit Recorded(const std::function<void()>& work) {
    static at::cuda::MempoolId_t pool;
    if (alive == 0) pool = at::cuda::graph_pool_handle();  // the one before went with its last graph
    static std::map<c10::DeviceIndex, c10::cuda::CUDAStream> streams;
    const c10::cuda::CUDAStream before = c10::cuda::getCurrentCUDAStream();
    check(cudaStreamSynchronize(before.stream()), "cudaStreamSynchronize");
    c10::cuda::CUDACachingAllocator::emptyCache();  // a recording has memory of its own, and cannot take what lies there
    const c10::cuda::CUDAStream apart =
        streams.try_emplace(before.device_index(), c10::cuda::getStreamFromPool(false, before.device_index())).first->second;
    c10::cuda::setCurrentCUDAStream(apart);
    try {
      graph_.capture_begin(pool, cudaStreamCaptureModeThreadLocal);
      work();
      graph_.capture_end();
    } catch (...) {
      abandon(apart, pool);
      c10::cuda::setCurrentCUDAStream(before);
      throw;
    }
    c10::cuda::setCurrentCUDAStream(before);
    ++alive;
  }
  ~Recorded() override { --alive; }
  void replay() override { graph_.replay(); }

 private:
  // Ends a recording that has come to nothing: the stream and the allocator know of it still.
  static void abandon(const c10::cuda::CUDAStream& stream, at::cuda::MempoolId_t pool) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    if (cudaStreamIsCapturing(stream.stream(), &status) != cudaSuccess || status != cudaStreamCaptureStatusNone) {
      cudaGraph_t left = nullptr;
      cudaStreamEndCapture(stream.stream(), &left);
      if (left) cudaGraphDestroy(left);
      c10::cuda::CUDACachingAllocator::endAllocateToPool(stream.device_index(), pool);
      c10::cuda::CUDACachingAllocator::releasePool(stream.device_index(), pool);
    }
    cudaGetLastError();
  }

  static inline int alive = 0;
  at::cuda::CUDAGraph graph_;
};

std::unique_ptr<kernel::Graph> record(const std::function<void()>& work) { return std::make_unique<Recorded>(work); }

const char* refusal(int device) {
  static std::string text;
  cudaDeviceProp of;
  if (const cudaError_t error = cudaGetDeviceProperties(&of, device); error != cudaSuccess)
    return text = std::string("cudaGetDeviceProperties: ") + cudaGetErrorString(error), text.c_str();
  if (of.major >= 9 && runs_here(device)) return "";  // LibTorch's grouped products ask for as much
  text = std::string(of.name) + " is of compute capability " + std::to_string(of.major) + '.' + std::to_string(of.minor) +
         ", for which they were not built";
  return text.c_str();
}

const kernel::Table& table() {
  static const kernel::Table table = [] {
    constexpr int kBf16 = static_cast<int>(Type::bf16);
    kernel::Table t{};
    t.name = "tensor cores";
    t.page_block = 64, t.query_columns = 16;
    t.embedding[kBf16] = &embedding;
    t.gemm = &gemm;
    t.rms_norm[kBf16] = &rms_norm, t.add_rms_norm[kBf16] = &add_rms_norm;
    t.swiglu[kBf16] = &swiglu, t.rope[kBf16] = &rope;
    t.attends = &attends, t.attention[kBf16] = &attention, t.paged_attention[kBf16] = &paged_attention;
    t.route = &route, t.route_backward = &route_backward;
    t.dispatch[kBf16] = &dispatch, t.combine[kBf16] = &combine, t.combine_backward[kBf16] = &combine_backward;
    t.logit_stats = &logit_stats, t.token_logprobs = &token_logprobs;
    t.token_logprobs_backward = &token_logprobs_backward, t.narrow = &narrow;
    t.sample = &sample, t.next_pass = &next_pass, t.take_drawn = &take_drawn;
    return t;
  }();
  return table;
}

}  // namespace
}  // namespace grpo::cuda

extern "C" __attribute__((visibility("default"))) const grpo::kernel::Backend* grpo_cuda_backend() {
  static const grpo::kernel::Backend backend{grpo::kernel::kInterface, &grpo::cuda::table(), &grpo::cuda::refusal,
                                             &grpo::cuda::record};
  return &backend;
}
