#pragma once

#include <string_view>

// Attention as networks spell it, ahead of fuse-attention.

namespace facet::testing {

/// One clamped head on a map of 2 x 3 places.
inline constexpr std::string_view kClampedBody = R"(
  %0 = input() {name = "x", type = "f32[N, 16, 2, 3]"} : f32[N, 16, 2, 3] @ "qkv"
  %1 = slice(%0) {axis = 1, end = 4, start = 0} : f32[N, 4, 2, 3]
  %2 = reshape(%1) {shape = [0, 4, 6]} : f32[N, 4, 6]
  %3 = slice(%0) {axis = 1, end = 8, start = 4} : f32[N, 4, 2, 3]
  %4 = reshape(%3) {shape = [0, 4, 6]} : f32[N, 4, 6]
  %5 = slice(%0) {axis = 1, end = 16, start = 8} : f32[N, 8, 2, 3]
  %6 = reshape(%5) {shape = [0, 8, 6]} : f32[N, 8, 6]
  %7 = matmul(%2, %4) {transpose_a = true} : f32[N, 6, 6] @ "energy"
  %8 = clamp(%7) {max = 1.0, min = -1.0} : f32[N, 6, 6] @ "energy"
  %9 = softmax(%8) : f32[N, 6, 6] @ "softmax"
  %10 = matmul(%6, %9) {transpose_b = true} : f32[N, 8, 6] @ "mix"
  %11 = reshape(%10) {shape = [0, 8, 2, 3]} : f32[N, 8, 2, 3] @ "mix"
  %12 = exp(%11) : f32[N, 8, 2, 3]
  return "y" = %12
)";

/// Packed heads with channels last, a scale and a bias.
inline constexpr std::string_view kTextbookBody = R"(
  %0 = input() {name = "x", type = "f32[N, 5, 24]"} : f32[N, 5, 24] @ "attn.qkv"
  %1 = reshape(%0) {shape = [0, 5, 3, 2, 4]} : f32[N, 5, 3, 2, 4] @ "attn.qkv"
  %2 = transpose(%1) {permutation = [2, 0, 3, 1, 4]} : f32[3, N, 2, 5, 4] @ "attn.qkv"
  %3 = slice(%2) {axis = 0, end = 1, start = 0} : f32[1, N, 2, 5, 4] @ "attn.qkv"
  %4 = reshape(%3) {shape = [-1, 2, 5, 4]} : f32[N, 2, 5, 4] @ "attn.qkv"
  %5 = slice(%2) {axis = 0, end = 2, start = 1} : f32[1, N, 2, 5, 4] @ "attn.qkv"
  %6 = reshape(%5) {shape = [-1, 2, 5, 4]} : f32[N, 2, 5, 4] @ "attn.qkv"
  %7 = slice(%2) {axis = 0, end = 3, start = 2} : f32[1, N, 2, 5, 4] @ "attn.qkv"
  %8 = reshape(%7) {shape = [-1, 2, 5, 4]} : f32[N, 2, 5, 4] @ "attn.qkv"
  %9 = matmul(%4, %6) {transpose_b = true} : f32[N, 2, 5, 5] @ "attn.qkv"
  %10 = constant() {value = tensor<f32[]; [0.5]>} : f32[] @ "attn"
  %11 = mul(%9, %10) : f32[N, 2, 5, 5] @ "attn"
  %12 = parameter() {key = "mask", type = "f32[1, 2, 5, 5]"} : f32[1, 2, 5, 5] @ "attn"
  %13 = add(%11, %12) : f32[N, 2, 5, 5] @ "attn"
  %14 = softmax(%13) : f32[N, 2, 5, 5] @ "attn"
  %15 = matmul(%14, %8) : f32[N, 2, 5, 4] @ "attn"
  %16 = transpose(%15) {permutation = [0, 2, 1, 3]} : f32[N, 5, 2, 4] @ "attn"
  %17 = reshape(%16) {shape = [0, 5, 8]} : f32[N, 5, 8] @ "attn"
  %18 = parameter() {key = "weight", type = "f32[8, 8]"} : f32[8, 8] @ "attn.proj"
  %19 = linear(%17, %18) : f32[N, 5, 8] @ "attn.proj"
  return "y" = %19
)";

/// Two heads with tables of token distances, every part with a batch norm of its own.
inline constexpr std::string_view kRasterBody = R"(
  %0 = input() {name = "x", type = "f32[N, 32, 2, 3]"} : f32[N, 32, 2, 3] @ "lesa.qkv"
  %1 = reshape(%0) {shape = [0, 2, 16, 6]} : f32[N, 2, 16, 6] @ "lesa.qkv"
  %2 = slice(%1) {axis = 2, end = 4, start = 0} : f32[N, 2, 4, 6] @ "lesa.qkv"
  %3 = slice(%1) {axis = 2, end = 8, start = 4} : f32[N, 2, 4, 6] @ "lesa.qkv"
  %4 = slice(%1) {axis = 2, end = 16, start = 8} : f32[N, 2, 8, 6] @ "lesa.qkv"
  %5 = matmul(%2, %3) {transpose_a = true} : f32[N, 2, 6, 6] @ "lesa.qkv"
  %6 = parameter() {key = "query_table", type = "f32[4, 11]"} : f32[4, 11] @ "lesa"
  %7 = parameter() {key = "key_table", type = "f32[4, 11]"} : f32[4, 11] @ "lesa"
  %8 = parameter() {key = "value_table", type = "f32[8, 11]"} : f32[8, 11] @ "lesa"
  %9 = matmul(%2, %6) {transpose_a = true} : f32[N, 2, 6, 11] @ "lesa"
  %10 = skew(%9) {distance = "i-j"} : f32[N, 2, 6, 6] @ "lesa"
  %11 = matmul(%3, %7) {transpose_a = true} : f32[N, 2, 6, 11] @ "lesa"
  %12 = skew(%11) {distance = "i-j"} : f32[N, 2, 6, 6] @ "lesa"
  %13 = transpose(%12) {permutation = [0, 1, 3, 2]} : f32[N, 2, 6, 6] @ "lesa"
  %14 = parameter() {key = "n1.gamma", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %15 = parameter() {key = "n1.beta", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %16 = parameter() {key = "n1.mean", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %17 = parameter() {key = "n1.var", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %18 = batch_norm(%5, %14, %15, %16, %17) : f32[N, 2, 6, 6] @ "lesa.norm"
  %19 = parameter() {key = "n2.gamma", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %20 = parameter() {key = "n2.beta", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %21 = parameter() {key = "n2.mean", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %22 = parameter() {key = "n2.var", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %23 = batch_norm(%10, %19, %20, %21, %22) : f32[N, 2, 6, 6] @ "lesa.norm"
  %24 = parameter() {key = "n3.gamma", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %25 = parameter() {key = "n3.beta", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %26 = parameter() {key = "n3.mean", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %27 = parameter() {key = "n3.var", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %28 = batch_norm(%13, %24, %25, %26, %27) : f32[N, 2, 6, 6] @ "lesa.norm"
  %29 = add(%18, %23) : f32[N, 2, 6, 6] @ "lesa.norm"
  %30 = add(%29, %28) : f32[N, 2, 6, 6] @ "lesa.norm"
  %31 = softmax(%30) : f32[N, 2, 6, 6] @ "lesa.norm"
  %32 = matmul(%4, %31) {transpose_b = true} : f32[N, 2, 8, 6] @ "lesa.norm"
  %33 = unskew(%31) {distance = "i-j"} : f32[N, 2, 6, 11] @ "lesa.norm"
  %34 = matmul(%8, %33) {transpose_b = true} : f32[N, 2, 8, 6] @ "lesa.norm"
  %35 = reshape(%32) {shape = [0, 16, 6]} : f32[N, 16, 6] @ "lesa.norm"
  %36 = reshape(%34) {shape = [0, 16, 6]} : f32[N, 16, 6] @ "lesa.norm"
  %37 = parameter() {key = "o1.gamma", type = "f32[16]"} : f32[16] @ "lesa.out"
  %38 = parameter() {key = "o1.beta", type = "f32[16]"} : f32[16] @ "lesa.out"
  %39 = parameter() {key = "o1.mean", type = "f32[16]"} : f32[16] @ "lesa.out"
  %40 = parameter() {key = "o1.var", type = "f32[16]"} : f32[16] @ "lesa.out"
  %41 = batch_norm(%35, %37, %38, %39, %40) : f32[N, 16, 6] @ "lesa.out"
  %42 = parameter() {key = "o2.gamma", type = "f32[16]"} : f32[16] @ "lesa.out"
  %43 = parameter() {key = "o2.beta", type = "f32[16]"} : f32[16] @ "lesa.out"
  %44 = parameter() {key = "o2.mean", type = "f32[16]"} : f32[16] @ "lesa.out"
  %45 = parameter() {key = "o2.var", type = "f32[16]"} : f32[16] @ "lesa.out"
  %46 = batch_norm(%36, %42, %43, %44, %45) : f32[N, 16, 6] @ "lesa.out"
  %47 = add(%41, %46) : f32[N, 16, 6] @ "lesa.out"
  %48 = reshape(%47) {shape = [0, 16, 2, 3]} : f32[N, 16, 2, 3] @ "lesa.out"
  %49 = exp(%48) : f32[N, 16, 2, 3]
  return "y" = %49
)";

/// Two heads with tables of rows and columns that count key minus query.
inline constexpr std::string_view kMapBody = R"(
  %0 = input() {name = "x", type = "f32[N, 32, 2, 3]"} : f32[N, 32, 2, 3] @ "lesa.qkv"
  %1 = reshape(%0) {shape = [0, 2, 16, 6]} : f32[N, 2, 16, 6] @ "lesa.qkv"
  %2 = slice(%1) {axis = 2, end = 4, start = 0} : f32[N, 2, 4, 6] @ "lesa.qkv"
  %3 = slice(%1) {axis = 2, end = 8, start = 4} : f32[N, 2, 4, 6] @ "lesa.qkv"
  %4 = slice(%1) {axis = 2, end = 16, start = 8} : f32[N, 2, 8, 6] @ "lesa.qkv"
  %5 = matmul(%2, %3) {transpose_a = true} : f32[N, 2, 6, 6] @ "lesa.qkv"
  %6 = parameter() {key = "columns", type = "f32[5, 4]"} : f32[5, 4] @ "lesa"
  %7 = parameter() {key = "rows", type = "f32[3, 4]"} : f32[3, 4] @ "lesa"
  %8 = matmul(%2, %6) {transpose_a = true, transpose_b = true} : f32[N, 2, 6, 5] @ "lesa"
  %9 = reshape(%8) {shape = [0, 2, 2, 3, 5]} : f32[N, 2, 2, 3, 5] @ "lesa"
  %10 = skew(%9) : f32[N, 2, 2, 3, 3] @ "lesa"
  %11 = reshape(%10) {shape = [0, 2, 6, 1, 3]} : f32[N, 2, 6, 1, 3] @ "lesa"
  %12 = matmul(%2, %7) {transpose_a = true, transpose_b = true} : f32[N, 2, 6, 3] @ "lesa"
  %13 = reshape(%12) {shape = [0, 2, 2, 3, 3]} : f32[N, 2, 2, 3, 3] @ "lesa"
  %14 = transpose(%13) {permutation = [0, 1, 3, 2, 4]} : f32[N, 2, 3, 2, 3] @ "lesa"
  %15 = skew(%14) : f32[N, 2, 3, 2, 2] @ "lesa"
  %16 = transpose(%15) {permutation = [0, 1, 3, 2, 4]} : f32[N, 2, 2, 3, 2] @ "lesa"
  %17 = reshape(%16) {shape = [0, 2, 6, 2, 1]} : f32[N, 2, 6, 2, 1] @ "lesa"
  %18 = add(%11, %17) : f32[N, 2, 6, 2, 3] @ "lesa"
  %19 = reshape(%18) {shape = [0, 2, 6, 6]} : f32[N, 2, 6, 6] @ "lesa"
  %20 = parameter() {key = "n1.gamma", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %21 = parameter() {key = "n1.beta", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %22 = parameter() {key = "n1.mean", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %23 = parameter() {key = "n1.var", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %24 = batch_norm(%5, %20, %21, %22, %23) : f32[N, 2, 6, 6] @ "lesa.norm"
  %25 = parameter() {key = "n2.gamma", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %26 = parameter() {key = "n2.beta", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %27 = parameter() {key = "n2.mean", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %28 = parameter() {key = "n2.var", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %29 = batch_norm(%19, %25, %26, %27, %28) : f32[N, 2, 6, 6] @ "lesa.norm"
  %30 = add(%24, %29) : f32[N, 2, 6, 6] @ "lesa.norm"
  %31 = softmax(%30) : f32[N, 2, 6, 6] @ "lesa.norm"
  %32 = matmul(%4, %31) {transpose_b = true} : f32[N, 2, 8, 6] @ "lesa.norm"
  %33 = reshape(%32) {shape = [0, 16, 6]} : f32[N, 16, 6] @ "lesa.norm"
  %34 = parameter() {key = "o1.gamma", type = "f32[16]"} : f32[16] @ "lesa.out"
  %35 = parameter() {key = "o1.beta", type = "f32[16]"} : f32[16] @ "lesa.out"
  %36 = parameter() {key = "o1.mean", type = "f32[16]"} : f32[16] @ "lesa.out"
  %37 = parameter() {key = "o1.var", type = "f32[16]"} : f32[16] @ "lesa.out"
  %38 = batch_norm(%33, %34, %35, %36, %37) : f32[N, 16, 6] @ "lesa.out"
  %39 = reshape(%38) {shape = [0, 16, 2, 3]} : f32[N, 16, 2, 3] @ "lesa.out"
  return "y" = %39
)";

}  // namespace facet::testing
