// Memory of the devices and pinned memory of the host: no address is used twice, and every access is checked.
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "double.h"

static const uint64_t window_bytes = 256ull << 30, unit = 512, page = 4096;
static uint64_t pinned_window, pinned_top;
static Allocations pinned;

static uint64_t round_up(uint64_t bytes, uint64_t to) { return (bytes + to - 1) / to * to; }

// Far from where the system puts other memory: between two pieces of one kernel there must be less than 2 GiB, and the
// linker of machine code asks the system for each.
static void* reserve(int protection) {
    static uintptr_t far = (uintptr_t)1 << 44;
    void* at = mmap((void*)far, window_bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    far += window_bytes;
    if (at == MAP_FAILED) {
        perror("double: no room for the memory of a device");
        abort();
    }
    return at;
}

void reserve_memory(Context* context) {
    context->window = (uint64_t)reserve(PROT_NONE);
    context->shadow = reserve(PROT_READ | PROT_WRITE);
    if (!pinned_window) pinned_window = (uint64_t)reserve(PROT_NONE);
}

// -- where an address is ---------------------------------------------------------------------------------------------
// The last allocation that begins at or before the address.
static Allocation* before(Allocations* all, uint64_t address) {
    int low = 0, high = all->count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (all->list[middle].base <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? &all->list[low - 1] : NULL;
}

static Allocation* add(Allocations* all, uint64_t base, uint64_t bytes, bool pooled) {
    if (all->count == all->room) {
        all->room = all->room ? 2 * all->room : 64;
        all->list = realloc(all->list, (size_t)all->room * sizeof *all->list);
    }
    all->list[all->count] = (Allocation){base, bytes, true, pooled};
    return &all->list[all->count++];
}

static Context* owner_of(uint64_t address) {
    for (int i = 0; i < MOST_DEVICES; ++i)
        if (contexts[i].window && address - contexts[i].window < window_bytes) return &contexts[i];
    return NULL;
}
bool is_device_address(uint64_t address) { return owner_of(address) != NULL; }

static bool inside(const Allocation* a, uint64_t address, uint64_t bytes) {
    return a && a->live && address - a->base <= a->bytes && bytes <= a->bytes - (address - a->base);
}

// The live allocation that holds the address.
bool find_device_memory(uint64_t address, Context** owner, Allocation** allocation) {
    *owner = owner_of(address);
    *allocation = *owner ? before(&(*owner)->memory, address) : NULL;
    return inside(*allocation, address, 1);
}

bool find_pinned(uint64_t address, Allocation** allocation) {
    *allocation = before(&pinned, address);
    return inside(*allocation, address, 1);
}

// The stretch in which a kernel on a device may touch `bytes` at the address; false if it may not.
bool span_for_kernel(Context* context, uint64_t address, uint32_t bytes, Span* span) {
    Context* owner = owner_of(address);
    Allocation* a = owner ? before(&owner->memory, address) : before(&pinned, address);
    if (!inside(a, address, bytes)) return false;
    if (owner && owner != context && !(context->peers >> owner->device & 1)) return false;
    *span = (Span){a->base, a->bytes, owner ? (uint64_t)owner->shadow - owner->window : 0};
    return true;
}

void describe_address(uint64_t address, uint64_t bytes, char* text, size_t room) {
    Context* owner = owner_of(address);
    Allocation* a = owner ? before(&owner->memory, address) : before(&pinned, address);
    bool is_pinned = !owner && pinned_window && address - pinned_window < window_bytes;
    char where[32] = "pinned memory";
    if (owner) snprintf(where, sizeof where, "device %d", owner->device);
    if (!owner && !is_pinned)
        snprintf(text, room, "0x%llx, which is %s", (unsigned long long)address,
                 address < page ? "a null pointer" : "pageable memory of the host");
    else if (!a)
        snprintf(text, room, "0x%llx of %s, before every allocation", (unsigned long long)address, where);
    else if (address - a->base >= a->bytes)
        snprintf(text, room, "0x%llx, %llu bytes behind the last of a%s allocation of %llu bytes of %s",
                 (unsigned long long)address, (unsigned long long)(address - a->base - a->bytes + 1),
                 a->live ? "n" : " freed", (unsigned long long)a->bytes, where);
    else
        snprintf(text, room, "0x%llx, %llu bytes into a%s allocation of %llu bytes of %s%s",
                 (unsigned long long)address, (unsigned long long)(address - a->base), a->live ? "n" : " freed",
                 (unsigned long long)a->bytes, where,
                 a->live && address - a->base + bytes > a->bytes ? ", and over its end" : "");
}

// Says what the host touched when it touched memory that it may not; then the fault takes its usual course.
static struct sigaction usual;
static void explain(int number, siginfo_t* info, void* machine) {
    (void)machine;
    uint64_t address = (uint64_t)info->si_addr;
    if (owner_of(address) || address - pinned_window < window_bytes) {
        char text[200], line[300];
        describe_address(address, 1, text, sizeof text);
        int n = snprintf(line, sizeof line, "double: the host touches %s\n", text);
        if (write(STDERR_FILENO, line, (size_t)n) < 0) abort();
    }
    sigaction(number, &usual, NULL);
    if (info->si_code <= 0) raise(number);  // somebody sent it: nothing will fault again
}

// Again at each cuInit, since Python's faulthandler may have taken our place meanwhile.
void watch_the_host(void) {
    struct sigaction now = {.sa_sigaction = explain, .sa_flags = SA_SIGINFO | SA_ONSTACK}, before;
    sigaction(SIGSEGV, &now, &before);
    if (before.sa_sigaction != explain) usual = before;
}

// -- bytes -----------------------------------------------------------------------------------------------------------
// Copy between addresses of this process, of which some may be unmapped: false in that case.
static bool copy_safely(uint64_t to, uint64_t from, uint64_t bytes) {
    while (bytes) {
        uint64_t part = bytes < (1 << 30) ? bytes : 1 << 30;
        struct iovec local = {(void*)to, part}, remote = {(void*)from, part};
        ssize_t done = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
        if (done < 0 && (errno == EPERM || errno == ENOSYS)) {  // some sandboxes forbid it
            memmove((void*)to, (void*)from, bytes);
            return true;
        }
        if (done <= 0) return false;
        to += (uint64_t)done, from += (uint64_t)done, bytes -= (uint64_t)done;
    }
    return true;
}

// Where the bytes of an address are, or 0 and a problem.
static uint64_t place(uint64_t address, uint64_t bytes, const char* function, const char* verb) {
    Context* owner = owner_of(address);
    bool is_pinned = address - pinned_window < window_bytes;
    Allocation* a = owner ? before(&owner->memory, address) : is_pinned ? before(&pinned, address) : NULL;
    if (!owner && !is_pinned) return address;
    if (inside(a, address, bytes)) return owner ? address - owner->window + (uint64_t)owner->shadow : address;
    char text[200];
    describe_address(address, bytes, text, sizeof text);
    problem("%s %s %llu bytes at %s", function, verb, (unsigned long long)bytes, text);
    return 0;
}

bool move_bytes(uint64_t to, uint64_t from, uint64_t bytes, const char* function) {
    uint64_t source = place(from, bytes, function, "reads"), target = place(to, bytes, function, "writes");
    if (!source || !target) return false;
    if (source != from && target != to) {
        memmove((void*)target, (void*)source, bytes);
        return true;
    }
    if (copy_safely(target, source, bytes)) return true;
    problem("%s: memory of the host at 0x%llx is not mapped any more", function,
            (unsigned long long)(source == from ? from : to));
    return false;
}

bool fill_bytes(uint64_t to, uint32_t value, int width, uint64_t count, const char* function) {
    char* target = (char*)place(to, count * (uint64_t)width, function, "writes");
    if (!target) return false;
    if (width == 1) memset(target, (int)value, count);
    for (uint64_t i = 0; width > 1 && i < count; ++i) memcpy(target + i * (uint64_t)width, &value, (size_t)width);
    return true;
}

bool host_hash(uint64_t address, uint64_t bytes, uint64_t* hash) {
    static char part[1 << 16];
    *hash = bytes;
    for (uint64_t done = 0; done < bytes; done += sizeof part) {
        uint64_t n = bytes - done < sizeof part ? bytes - done : sizeof part;
        memset(part, 0, 8);
        if (!copy_safely((uint64_t)part, address + done, n)) return false;
        for (uint64_t i = 0, word; i < n; i += 8) {
            word = 0;
            memcpy(&word, part + i, n - i < 8 ? n - i : 8);
            *hash = (*hash ^ word) * 0x9E3779B97F4A7C15u;
            *hash ^= *hash >> 29;
        }
    }
    return true;
}

bool poison_host(uint64_t address, uint64_t bytes) {
    static char part[1 << 16];
    memset(part, HOST_POISON, sizeof part);
    for (uint64_t done = 0; done < bytes; done += sizeof part)
        if (!copy_safely(address + done, (uint64_t)part, bytes - done < sizeof part ? bytes - done : sizeof part))
            return false;
    return true;
}

// -- allocations -----------------------------------------------------------------------------------------------------
CUresult allocate(Context* context, uint64_t bytes, bool pooled, CUdeviceptr* address) {
    REQUIRE(bytes, INVALID_VALUE);
    uint64_t taken = round_up(bytes, unit);
    if (taken > context->limit - context->used || context->used > context->limit) return OUT_OF_MEMORY;
    if (context->top + taken + unit > window_bytes) {
        problem("device %d: its %llu GiB of addresses are used up, since none is used twice", context->device,
                (unsigned long long)(window_bytes >> 30));
        return OUT_OF_MEMORY;
    }
    *address = context->window + context->top;
    add(&context->memory, *address, bytes, pooled);
    memset(context->shadow + context->top, POISON, bytes);
    context->top += taken + unit;  // a gap, so that the byte past the end belongs to nobody
    context->used += taken;
    ++counts.allocations;
    return SUCCESS;
}

// Whether nothing that lives has bytes in this page.
static bool is_dead(Allocations* all, uint64_t at) {
    const Allocation* last = before(all, at + page - 1);
    for (; last && last >= all->list && last->base + last->bytes > at; --last)
        if (last->live) return false;
    return true;
}

void release(Context* owner, Allocation* allocation) {
    allocation->live = false;
    owner->used -= round_up(allocation->bytes, unit);
    --counts.allocations;
    uint64_t low = allocation->base / page * page, high = round_up(allocation->base + allocation->bytes, page);
    if (!is_dead(&owner->memory, low)) low += page;
    if (high > low && !is_dead(&owner->memory, high - page)) high -= page;
    if (high > low) madvise(owner->shadow + (low - owner->window), high - low, MADV_DONTNEED);
}

static CUresult find_base(CUdeviceptr address, const char* function, Context** owner, Allocation** allocation) {
    if (find_device_memory(address, owner, allocation) && (*allocation)->base == address) return SUCCESS;
    char text[200];
    describe_address(address, 1, text, sizeof text);
    problem("%s of %s", function, text);
    return INVALID_VALUE;
}

API CUresult cuMemAlloc_v2(CUdeviceptr* address, size_t bytes) {
    ENTER(CONTEXT);
    if (break_captures(current_context())) return CAPTURE_UNSUPPORTED;
    return allocate(current_context(), bytes, false, address);
}

API CUresult cuMemAllocAsync(CUdeviceptr* address, size_t bytes, void* stream) {
    ENTER(CONTEXT);
    Stream* s = stream_of(stream);
    REQUIRE(s, INVALID_HANDLE);
    REQUIRE(!s->capture, NOT_SUPPORTED);
    return allocate(s->context, bytes, true, address);
}

// Waits for the device, as the real one does.
API CUresult cuMemFree_v2(CUdeviceptr address) {
    ENTER(CONTEXT);
    if (!address) return SUCCESS;
    if (break_captures(current_context())) return CAPTURE_UNSUPPORTED;
    Context* owner;
    Allocation* allocation;
    CUresult code = find_base(address, __func__, &owner, &allocation);
    if (code) return code;
    run_all(owner);
    if (allocation->live) release(owner, allocation);
    return owner->lost;
}

API CUresult cuMemFreeAsync(CUdeviceptr address, void* stream) {
    ENTER(CONTEXT);
    if (!address) return SUCCESS;
    Stream* s = stream_of(stream);
    REQUIRE(s, INVALID_HANDLE);
    REQUIRE(!s->capture, NOT_SUPPORTED);
    Context* owner;
    Allocation* allocation;
    CUresult code = find_base(address, __func__, &owner, &allocation);
    if (code) return code;
    put(s, FREE, __func__)->to = address;
    return SUCCESS;
}

API CUresult cuMemGetInfo_v2(size_t* available, size_t* total) {
    ENTER(CONTEXT);
    Context* context = current_context();
    *available = context->limit - context->used;
    *total = context->limit;
    return SUCCESS;
}

API CUresult cuMemGetAddressRange_v2(CUdeviceptr* base, size_t* bytes, CUdeviceptr address) {
    ENTER(CONTEXT);
    Context* owner;
    Allocation* allocation;
    REQUIRE(find_device_memory(address, &owner, &allocation), NOT_FOUND);
    if (base) *base = allocation->base;
    if (bytes) *bytes = allocation->bytes;
    return SUCCESS;
}

API CUresult cuPointerGetAttribute(void* value, int attribute, CUdeviceptr address) {
    ENTER(CONTEXT);
    enum { POINTER_CONTEXT = 1, MEMORY_TYPE = 2, DEVICE_ORDINAL = 9, HOST = 1, DEVICE = 2 };
    Context* owner;
    Allocation* allocation;
    bool on_device = find_device_memory(address, &owner, &allocation);
    REQUIRE(on_device || find_pinned(address, &allocation), INVALID_VALUE);
    if (attribute == POINTER_CONTEXT)
        *(void**)value = on_device ? owner : current_context();
    else if (attribute == MEMORY_TYPE)
        *(unsigned*)value = on_device ? DEVICE : HOST;
    else if (attribute == DEVICE_ORDINAL)
        *(int*)value = on_device ? owner->device : current_context()->device;
    else
        return NOT_SUPPORTED;
    return SUCCESS;
}

// -- pinned memory of the host ---------------------------------------------------------------------------------------
API CUresult cuMemHostAlloc(void** address, size_t bytes, unsigned flags) {
    ENTER(CONTEXT);
    (void)flags;
    REQUIRE(bytes, INVALID_VALUE);
    uint64_t taken = round_up(bytes, page);
    if (pinned_top + taken + page > window_bytes) return OUT_OF_MEMORY;
    *address = (void*)(pinned_window + pinned_top);
    if (mprotect(*address, taken, PROT_READ | PROT_WRITE)) return OUT_OF_MEMORY;
    add(&pinned, (uint64_t)*address, bytes, false);
    memset(*address, HOST_POISON, bytes);
    pinned_top += taken + page;
    ++counts.pinned;
    return SUCCESS;
}
API CUresult cuMemAllocHost_v2(void** address, size_t bytes) { return cuMemHostAlloc(address, bytes, 0); }

// Nothing waits here: what still reads or writes the memory will find that it is gone.
API CUresult cuMemFreeHost(void* address) {
    ENTER(CONTEXT);
    Allocation* allocation;
    if (!find_pinned((uint64_t)address, &allocation) || allocation->base != (uint64_t)address) {
        char text[200];
        describe_address((uint64_t)address, 1, text, sizeof text);
        problem("cuMemFreeHost of %s", text);
        return INVALID_VALUE;
    }
    allocation->live = false;
    uint64_t taken = round_up(allocation->bytes, page);
    madvise(address, taken, MADV_DONTNEED);
    mprotect(address, taken, PROT_NONE);
    --counts.pinned;
    return SUCCESS;
}
