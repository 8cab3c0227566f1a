// The table of dtypes: each row is everything the runtime needs to know about one. Quantised dtypes, which differ by
// the numbers in their names, get rows when they are first met.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

namespace tengen {

enum class DType : uint32_t {
    Bool,
    UInt8,
    Int8,
    UInt16,
    Int16,
    Int32,
    Int64,
    Float16,
    BFloat16,
    Float32,
    Float64,
    Complex64,
    WeakBool,
    WeakInt,
    WeakFloat,
};

struct DTypeInfo {
    std::string_view name;
    uint8_t itemsize;
    bool floating;                  // can carry a gradient
    const char* numpy;              // the NumPy dtype of the same bits; NumPy has no bfloat16
    std::string_view buffer_codes;  // the struct-module codes under which such an array exports its buffer
    uint8_t dlpack_code;            // DLDataTypeCode
};

inline constexpr std::array<DTypeInfo, 15> kDTypes{{
    {"bool", 1, false, "bool", "?", 6},
    {"uint8", 1, false, "uint8", "B", 1},
    {"int8", 1, false, "int8", "b", 0},
    {"uint16", 2, false, "uint16", "H", 1},
    {"int16", 2, false, "int16", "h", 0},
    {"int32", 4, false, "int32", "il", 0},
    {"int64", 8, false, "int64", "lq", 0},
    {"float16", 2, true, "float16", "e", 2},
    {"bfloat16", 2, true, "uint16", "H", 4},
    {"float32", 4, true, "float32", "f", 2},
    {"float64", 8, true, "float64", "d", 2},
    {"complex64", 8, true, "complex64", "Zf", 5},
    {"weak_bool", 1, false, "bool", "?", 6},
    {"weak_int", 8, false, "int64", "lq", 0},
    {"weak_float", 8, true, "float64", "d", 2},
}};

// A dtype whose elements are integers that stand for other numbers, such as "qint8(0.1)".
struct Quantised {
    DTypeInfo info;
    DType storage;  // of the integers
};

// The integers that store each kind; the kind is the part of the name before the bracket.
inline constexpr std::array<std::pair<std::string_view, DType>, 6> kQuantisedKinds{{
    {"qint8", DType::Int8},
    {"quint8", DType::UInt8},
    {"qint32", DType::Int32},
    {"qint4", DType::Int8},
    {"quint4", DType::UInt8},
    {"qint1", DType::Int8},
}};

// Those met so far. A row is written before its number is handed out, and never changes. Kernels and other threads read
// it without the GIL.
inline constexpr size_t kMostQuantised = 1 << 16;
inline std::array<const Quantised*, kMostQuantised> quantised{};

// Of a Python number.
inline bool is_weak(DType dtype) { return dtype >= DType::WeakBool && dtype <= DType::WeakFloat; }

inline bool is_quantised(DType dtype) { return static_cast<size_t>(dtype) >= kDTypes.size(); }

inline const Quantised& quantised_row(DType dtype) { return *quantised[static_cast<size_t>(dtype) - kDTypes.size()]; }

inline const DTypeInfo& info(DType dtype) {
    return is_quantised(dtype) ? quantised_row(dtype).info : kDTypes[static_cast<size_t>(dtype)];
}

// The dtype of the bits in memory.
inline DType storage_of(DType dtype) { return is_quantised(dtype) ? quantised_row(dtype).storage : dtype; }

}  // namespace tengen
