// SmeLU and RESCU as operators of PyTorch for float32 and float64 on the CPU: one vectorised pass
// forward, one backward, one saved tensor, through the same dispatcher, tensor iterator and thread
// pool as PyTorch's own activations. recsys/rescu.py says the mathematics, in the same operations
// and order, so that both round alike (hence no fused multiply-add: -ffp-contract=off).

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <ATen/native/TensorIterator.h>
#include <ATen/native/cpu/Loops.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <limits>
#include <vector>

namespace {

using at::Tensor;
using at::vec::Vectorized;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

// A NaN among x passes through, as it does through the functions of these names in at::vec.

template <typename T>
T clamp_min(T x, T low) {
  return x < low ? low : x;
}

template <typename T>
T clamp_max(T x, T high) {
  return x > high ? high : x;
}

template <typename T>
T clamp(T x, T low, T high) {
  return clamp_max(clamp_min(x, low), high);
}

using at::vec::clamp;
using at::vec::clamp_max;
using at::vec::clamp_min;

// The functions below are written once for T, a number, and for V, T itself or a vector of T.

template <typename T>
struct Rise {
  T start, scale;
  bool step;

  Rise(double from, double width)
      : start(from), scale(1.0 / width), step(width < std::numeric_limits<T>::min()) {}

  T operator()(T x) const {
    return step ? T(x > start) : clamp((x - start) * scale, T(0), T(1));
  }
  Vectorized<T> operator()(Vectorized<T> x) const {
    const Vectorized<T> zero(T(0)), one(T(1)), from(start);
    return step ? x.gt(from) : clamp((x - from) * Vectorized<T>(scale), zero, one);
  }
};

template <typename T>
struct Smelu {
  T beta;
  Rise<T> rise;

  explicit Smelu(double half_width) : beta(half_width), rise(-half_width, 2 * half_width) {}

  template <typename V>
  V value(V x) const {
    const V slope = rise(x);
    return clamp_min(x, slope * slope * V(beta));
  }
  template <typename V>
  V slope(V x) const {
    return rise(x);
  }
};

template <typename T>
struct Rescu {
  struct Part {
    T stop, half_width, change;
    Rise<T> rise;
  };
  T first, last, offset, left, right;
  std::vector<Part> parts;

  Rescu(at::ArrayRef<double> knots, at::ArrayRef<double> slopes, double value)
      : first(knots.front()), last(knots.back()), offset(value), left(slopes.front()),
        right(slopes.back()) {
    for (size_t i = 0; i + 1 < knots.size(); ++i) {
      const double width = knots[i + 1] - knots[i];
      parts.push_back({T(knots[i + 1]), T(0.5 * width), T(slopes[i + 1] - slopes[i]),
                       Rise<T>(knots[i], width)});
    }
  }

  template <typename V>
  V value(V x) const {
    const V zero(T(0)), from(first), to(last);
    const V inner = clamp(x, from, to);
    V sum = V(left) * (inner - from) + V(offset);
    for (const Part& part : parts) {
      const V rise = part.rise(inner);
      sum = sum + V(part.change) *
          (V(part.half_width) * rise * rise + clamp_min(inner - V(part.stop), zero));
    }
    if (left != 0) sum = sum + V(left) * clamp_max(x - from, zero);
    if (right != 0) sum = sum + V(right) * clamp_min(x - to, zero);
    return sum;
  }
  template <typename V>
  V slope(V x) const {
    V sum = V(left);
    for (const Part& part : parts) sum = sum + V(part.change) * part.rise(x);
    return sum;
  }
};

template <typename T, typename F>
void fill_value(at::TensorIteratorBase& each, const F& unit) {
  at::native::cpu_kernel_vec(
      each, [&](T x) -> T { return unit.value(x); },
      [&](Vectorized<T> x) { return unit.value(x); });
}

template <typename T, typename F>
void fill_gradient(at::TensorIteratorBase& each, const F& unit) {
  at::native::cpu_kernel_vec(
      each, [&](T g, T x) -> T { return g * unit.slope(x); },
      [&](Vectorized<T> g, Vectorized<T> x) { return g * unit.slope(x); });
}

// Each operator names its parameters, and makes of them the function for one type of number.

struct SmeluParameters {
  double beta;
  template <typename T>
  Smelu<T> of() const {
    return Smelu<T>(beta);
  }
};

struct RescuParameters {
  std::vector<double> knots, slopes;
  double value;
  template <typename T>
  Rescu<T> of() const {
    return Rescu<T>(knots, slopes, value);
  }
};

template <typename P>
Tensor forward(const Tensor& x, const P& parameters) {
  Tensor y;
  auto each = at::TensorIteratorConfig().add_output(y).add_const_input(x).build();
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "soloist", [&] {
    fill_value<scalar_t>(each, parameters.template of<scalar_t>());
  });
  return each.output();
}

template <typename P>
Tensor backward(const Tensor& gradient, const Tensor& x, const P& parameters) {
  Tensor y;
  auto each = at::TensorIteratorConfig()
                  .add_output(y).add_const_input(gradient).add_const_input(x).build();
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "soloist", [&] {
    fill_gradient<scalar_t>(each, parameters.template of<scalar_t>());
  });
  return each.output();
}

// The slope in operations that PyTorch differentiates, for gradients of gradients.

Tensor rise(const Tensor& x, double start, double width) {
  const double tiny = x.scalar_type() == at::kDouble ? std::numeric_limits<double>::min()
                                                     : std::numeric_limits<float>::min();
  if (width < tiny) return x.gt(start).to(x.scalar_type());
  return x.sub(start).mul(1.0 / width).clamp(0.0, 1.0);
}

Tensor slope(const Tensor& x, const SmeluParameters& p) {
  return rise(x, -p.beta, 2 * p.beta);
}

Tensor slope(const Tensor& x, const RescuParameters& p) {
  Tensor sum = at::full({}, p.slopes.front(), x.options());
  for (size_t i = 0; i + 1 < p.knots.size(); ++i) {
    const Tensor part = rise(x, p.knots[i], p.knots[i + 1] - p.knots[i]);
    sum = sum + part.mul(p.slopes[i + 1] - p.slopes[i]);
  }
  return sum;
}

at::IValue packed(const SmeluParameters& p) { return p.beta; }
at::IValue packed(const RescuParameters& p) { return std::make_tuple(p.knots, p.slopes, p.value); }

void unpack(const at::IValue& saved, SmeluParameters& p) { p.beta = saved.toDouble(); }
void unpack(const at::IValue& saved, RescuParameters& p) {
  const auto& parts = saved.toTupleRef().elements();
  p = {parts[0].toDoubleVector(), parts[1].toDoubleVector(), parts[2].toDouble()};
}

template <typename P>
struct Differentiable : torch::autograd::Function<Differentiable<P>> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const P& parameters) {
    at::AutoDispatchBelowADInplaceOrView below;
    context->save_for_backward({x});
    context->saved_data["parameters"] = packed(parameters);
    return ::forward(x, parameters);
  }

  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    P parameters;
    unpack(context->saved_data["parameters"], parameters);
    const Tensor x = context->get_saved_variables()[0];
    const Tensor result = at::GradMode::is_enabled()
        ? gradients[0] * slope(x, parameters)
        : ::backward(gradients[0], x, parameters);
    return {result, Tensor()};
  }
};

Tensor smelu(const Tensor& x, double beta) {
  return forward(x, SmeluParameters{beta});
}

Tensor smelu_differentiable(const Tensor& x, double beta) {
  return Differentiable<SmeluParameters>::apply(x, SmeluParameters{beta});
}

Tensor rescu(
    const Tensor& x, at::ArrayRef<double> knots, at::ArrayRef<double> slopes, double value) {
  return forward(x, RescuParameters{knots.vec(), slopes.vec(), value});
}

Tensor rescu_differentiable(
    const Tensor& x, at::ArrayRef<double> knots, at::ArrayRef<double> slopes, double value) {
  return Differentiable<RescuParameters>::apply(
      x, RescuParameters{knots.vec(), slopes.vec(), value});
}

}  // namespace

TORCH_LIBRARY(soloist, library) {
  library.def("smelu(Tensor x, float beta) -> Tensor");
  library.def("rescu(Tensor x, float[] knots, float[] slopes, float value) -> Tensor");
}

TORCH_LIBRARY_IMPL(soloist, CPU, library) {
  library.impl("smelu", smelu);
  library.impl("rescu", rescu);
}

TORCH_LIBRARY_IMPL(soloist, AutogradCPU, library) {
  library.impl("smelu", smelu_differentiable);
  library.impl("rescu", rescu_differentiable);
}
