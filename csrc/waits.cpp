#include "waits.h"

#include <nanobind/stl/string.h>

#include <algorithm>
#include <array>
#include <bitset>
#include <map>
#include <optional>
#include <thread>
#include <unordered_map>
#include <utility>

#include "tensor_class.h"

namespace tengen {

namespace {

constexpr size_t kWords = 256;                // of one device: Plans that are checked together
constexpr size_t kReleaseGilBytes = 1 << 20;  // copying fewer bytes takes less time than handing over the GIL

bool at_once = false;

// The status words of a device. They are read all together. A word is a Plan's until it has been read after the Plan,
// or given back: what runs inside the Plan, or in another thread, gets others.
class Board {
  public:
    explicit Board(Device& device) : device_(device) {}

    std::byte* next() {
        if (!words_) {
            words_ = device_.allocate(kWords * sizeof(int64_t));
            clear(0, kWords);
        }
        while (taken_.all()) {
            if (!has_unread())
                throw std::runtime_error("too many Plans with checks run at the same time on " + device_.name);
            collect();
        }
        size_t index = 0;
        while (taken_[index]) ++index;  // the first, so that addresses repeat
        if (used_[index]) clear(index, 1);
        taken_[index] = true;
        reach_ = std::max(reach_, index + 1);
        return words_->data + index * sizeof(int64_t);
    }

    // A kernel that still runs may write to it: it is cleared, after that, when it is handed out again.
    void give_back(const std::byte* word) {
        const size_t index = index_of(word);
        taken_[index] = false;
        used_[index] = true;
    }

    void note(std::byte* word, Check check) {
        const size_t index = index_of(word);
        for (const Value& input : check.inputs) ++held_[input.storage.get()];
        noted_.push_back({index, ++count_, std::this_thread::get_id(), 0, std::move(check)});
    }

    // Reads the words of all Plans so far, for which it waits.
    void collect() {
        if (!has_unread()) return;
        const uint64_t count = count_;
        const size_t bytes = reach_ * sizeof(int64_t);
        std::array<int64_t, kWords> words;
        {
            nb::gil_scoped_release released;
            device_.copy_out(words.data(), words_->data, bytes);
        }
        settle(words.data(), count);
        looked_ = 0;
    }

    // Lets go of Plans that have ended by now, without waiting, and asks about those so far.
    void look() {
        if (looked_) {
            const std::byte* words = device_.copied_out();
            if (!words) return;
            settle(reinterpret_cast<const int64_t*>(words), std::exchange(looked_, 0));
        }
        device_.begin_copy_out(words_->data, reach_ * sizeof(int64_t));
        looked_ = count_;
    }

    // Raises the first failure of this thread, and forgets the others: they may be what it led to.
    void raise() {
        std::optional<Noted> first;
        std::erase_if(noted_, [&](Noted& one) {
            if (!one.status || one.thread != std::this_thread::get_id()) return false;
            let_go(one);
            if (!first) first = std::move(one);
            return true;
        });
        if (!first) return;
        nb::list inputs;
        for (Value& input : first->check.inputs) inputs.append(wrap(std::move(input)));
        first->check.error(first->status, nb::tuple(inputs));
        throw std::runtime_error("a kernel failed with status " + std::to_string(first->status));
    }

    bool idle() const { return noted_.empty(); }

    size_t holds(const Storage* storage) const {
        const auto found = held_.find(storage);
        return found == held_.end() ? 0 : found->second;
    }

  private:
    struct Noted {
        size_t index;     // of the word; kWords if it has been read
        uint64_t number;  // counted from 1
        std::thread::id thread;
        int64_t status;
        Check check;
    };

    // Takes the words of the first `count` Plans.
    void settle(const int64_t* words, uint64_t count) {
        std::erase_if(noted_, [&](Noted& one) {
            if (one.index == kWords || one.number > count) return false;
            one.status = words[one.index];
            taken_[one.index] = false;
            used_[one.index] = one.status != 0;
            one.index = kWords;
            if (one.status == 0) let_go(one);
            return one.status == 0;
        });
    }

    void let_go(const Noted& one) {
        for (const Value& input : one.check.inputs) {
            const auto found = held_.find(input.storage.get());
            if (--found->second == 0) held_.erase(found);
        }
    }

    bool has_unread() const {
        return std::any_of(noted_.begin(), noted_.end(), [](const Noted& one) { return one.index != kWords; });
    }

    size_t index_of(const std::byte* word) const { return static_cast<size_t>(word - words_->data) / sizeof(int64_t); }

    void clear(size_t first, size_t count) {
        const std::array<int64_t, kWords> zeros{};
        device_.copy_in(words_->data + first * sizeof(int64_t), zeros.data(), count * sizeof(int64_t));
        for (size_t i = first; i < first + count; ++i) used_[i] = false;
    }

    Device& device_;
    Ref<Storage> words_;
    std::bitset<kWords> taken_, used_;  // of Plans; and those that may not be 0
    size_t reach_ = 0;                  // words from the first one to the last that was ever taken
    uint64_t count_ = 0;                // of the Plans that were noted
    uint64_t looked_ = 0;               // the same, when their words were last asked for; 0: nothing is on its way
    std::vector<Noted> noted_;
    std::unordered_map<const Storage*, size_t> held_;  // by those
};

// Numbers come again and again, such as 1 and a learning rate, so a device keeps those that it was given.
class Numbers {
  public:
    const Ref<Storage>& find(Device& device, uint64_t bits) {
        if (auto found = known_.find(bits); found != known_.end()) return found->second;
        if (known_.size() == kMostNumbers) known_.clear();  // what still reads them runs before what gets their memory
        Ref<Storage> made = device.allocate(sizeof bits);
        device.copy_in(made->data, &bits, sizeof bits);
        return known_.emplace(bits, std::move(made)).first->second;
    }

  private:
    static constexpr size_t kMostNumbers = 1024;

    std::unordered_map<uint64_t, Ref<Storage>> known_;
};

Board& board_of(Device& device) {
    static auto& boards = *new std::map<Device*, Board>;  // Python objects, which must not be destroyed after Python
    return boards.try_emplace(&device, device).first->second;
}

// What has failed by now, after the host has waited.
void raise_failures(Device& device) {
    Board& board = board_of(device);
    if (board.idle()) return;
    board.collect();
    board.raise();
}

void copy_out(Device& device, void* to, const std::byte* from, size_t bytes) {
    if (!bytes) return;
    {
        nb::gil_scoped_release released;
        device.copy_out(to, from, bytes);
    }
    raise_failures(device);
}

void copy_in(Device& device, std::byte* to, const void* from, size_t bytes) {
    if (bytes >= kReleaseGilBytes) {
        nb::gil_scoped_release released;
        device.copy_in(to, from, bytes);
    } else if (bytes) {
        device.copy_in(to, from, bytes);
    }
}

}  // namespace

Ref<Storage> number_on(Device& device, uint64_t bits) {
    static auto& numbers = *new std::map<Device*, Numbers>;  // outlive static destructors, as tensors may
    return numbers[&device].find(device, bits);
}

std::byte* status_word(Device& device) { return board_of(device).next(); }

void give_back(Device& device, const std::byte* word) { board_of(device).give_back(word); }

void check_later(Device& device, std::byte* word, Check check) { board_of(device).note(word, std::move(check)); }

void look(Device& device) { board_of(device).look(); }

size_t checks_of(Device& device, const Storage* storage) { return board_of(device).holds(storage); }

int64_t read_status(Device& device, const std::byte* word) {
    int64_t status = 0;
    nb::gil_scoped_release released;
    device.copy_out(&status, word, sizeof status);
    return status;
}

void wait_for(Device& device) {
    {
        nb::gil_scoped_release released;
        device.wait();
    }
    raise_failures(device);
}

bool waits_at_once() { return at_once; }

Value fetched(const Value& value) {
    Device* device = value.storage->device;
    if (!device) return value;
    const auto [low, high] = value.desc->byte_range();
    const auto bytes = static_cast<size_t>(high - low);
    Ref<Storage> copy = Storage::create(bytes);
    copy_out(*device, copy->data, value.pointer() + low, bytes);
    return Value{copy, -low, value.desc, {}, {}};
}

void transfer(const Value& from, const Value& to) {
    const auto [low, high] = to.desc->byte_range();
    const auto bytes = static_cast<size_t>(high - low);
    Device *source = from.storage->device, *target = to.storage->device;
    if (!target) {
        if (!source) throw std::runtime_error("a transfer from the host to itself");
        copy_out(*source, to.pointer() + low, from.pointer() + low, bytes);
    } else {
        const Value here = fetched(from);
        copy_in(*target, to.pointer() + low, here.pointer() + low, bytes);
    }
}

void bind_waits(nb::module_& module) {
    module.def(
        "synchronize",
        [](const std::string& device) {
            Device& found = device_named(device);
            if (!found.is_host()) wait_for(found);
        },
        nb::arg("device"), "Wait for all that was run on a device; raises what has failed.");
    module.def(
        "set_sync", [](bool on) { at_once = on; }, nb::arg("on"),
        "Whether whatever is run on a device is waited for at once.");
}

}  // namespace tengen
