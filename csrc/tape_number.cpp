#include "tape_number.h"

#include <algorithm>
#include <vector>

namespace tengen {

namespace {

uint64_t last_id = 0;

std::vector<TapeNumber*>& existing() {
    static auto& numbers = *new std::vector<TapeNumber*>;
    return numbers;
}

}  // namespace

TapeNumber::TapeNumber() : id_(++last_id) { existing().push_back(this); }

TapeNumber::~TapeNumber() { std::erase(existing(), this); }

void TapeNumber::renew() { id_ = ++last_id; }

TapeNumber* TapeNumber::find(uint64_t id) {
    for (TapeNumber* number : existing()) {
        if (number->id() == id) return number;
    }
    return nullptr;
}

}  // namespace tengen
