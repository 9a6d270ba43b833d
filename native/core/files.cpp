// POSIX calls, each with its error checked: a write that was acknowledged is on the disk.
#include "core/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "core/failure.h"

namespace stillroom {

namespace {

constexpr size_t buffer_bytes = size_t{1} << 20;

[[noreturn]] void fail(const std::string& path, const char* what) {
    throw Failure(Code::io, path + ": " + what + ": " + std::strerror(errno));
}

void sync_path(const std::string& path, int flags) {
    const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC);
    if (descriptor < 0) fail(path, "cannot be opened to sync it");
    const int result = fsync(descriptor);
    const int error = errno;
    ::close(descriptor);
    errno = error;
    if (result != 0) fail(path, "cannot be synced to disk");
}

std::string folder_of(const std::string& path) {
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

TemporaryFile::TemporaryFile(const std::string& target) : target(target) {
    static std::atomic<unsigned> counter{0};
    temporary = target + ".tmp-" + std::to_string(getpid()) + "-" + std::to_string(counter++);
}

TemporaryFile::~TemporaryFile() {
    if (!committed) unlink(temporary.c_str());
}

void TemporaryFile::commit() {
    sync_path(temporary, O_RDONLY);
    if (std::rename(temporary.c_str(), target.c_str()) != 0) fail(target, "cannot be replaced");
    committed = true;
    sync_path(folder_of(target), O_RDONLY | O_DIRECTORY);
}

AtomicFile::AtomicFile(const std::string& target) : file(target) {
    descriptor = ::open(file.name().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor < 0) fail(file.name(), "cannot be created");
    buffer.reserve(buffer_bytes);
}

AtomicFile::~AtomicFile() {
    if (descriptor >= 0) ::close(descriptor);
}

void AtomicFile::flush() {
    size_t done = 0;
    while (done < buffer.size()) {
        const ssize_t count = ::write(descriptor, buffer.data() + done, buffer.size() - done);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) fail(file.name(), "cannot be written");
        done += static_cast<size_t>(count);
    }
    buffer.clear();
}

void AtomicFile::write(const void* data, size_t size) {
    const auto* bytes = static_cast<const uint8_t*>(data);
    total += size;
    while (size > 0) {
        const size_t part = std::min(size, buffer_bytes - buffer.size());
        buffer.insert(buffer.end(), bytes, bytes + part);
        bytes += part;
        size -= part;
        if (buffer.size() == buffer_bytes) flush();
    }
}

void AtomicFile::zeros(size_t count) {
    const uint8_t zero[64] = {};
    for (; count > 0; count -= std::min(count, sizeof zero)) write(zero, std::min(count, sizeof zero));
}

void AtomicFile::commit() {
    flush();
    const int result = ::close(descriptor);
    descriptor = -1;
    if (result != 0) fail(file.name(), "cannot be written");
    file.commit();
}

bool same_file(const std::string& a, const std::string& b) {
    struct stat first {}, second {};
    return stat(a.c_str(), &first) == 0 && stat(b.c_str(), &second) == 0 && first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

}  // namespace stillroom
