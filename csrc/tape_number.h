// The number of a gradient tape, by which values know it: they may outlive the tape.
#pragma once

#include <cstdint>

namespace tengen {

class TapeNumber {
  public:
    TapeNumber();
    TapeNumber(const TapeNumber&) = delete;
    TapeNumber& operator=(const TapeNumber&) = delete;

    uint64_t id() const { return id_; }
    // The one that has a number, or null: it was renewed or destroyed, or the number is 0.
    static TapeNumber* find(uint64_t id);

  protected:
    ~TapeNumber();
    // Takes the next number; what refers to the old one refers to no tape any more.
    void renew();

  private:
    uint64_t id_;
};

}  // namespace tengen
