// The table of dtypes: everything the runtime needs to know about one is a row here.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace tengen {

enum class DType : uint8_t {
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

inline const DTypeInfo& info(DType dtype) { return kDTypes[static_cast<size_t>(dtype)]; }

}  // namespace tengen
