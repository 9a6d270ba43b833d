// Files written so that a reader sees the whole new file or the old one: temporary name, fsync, rename, fsync of the folder.
// Knows nothing of what is in them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace stillroom {

// A name beside the target for someone else (llama.cpp) to write to; commit() makes it the target, else it is removed.
class TemporaryFile {
   public:
    explicit TemporaryFile(const std::string& target);
    ~TemporaryFile();
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;

    const std::string& name() const { return temporary; }
    // Failure(io) when the disk is full or the target cannot be replaced.
    void commit();

   private:
    std::string target, temporary;
    bool committed = false;
};

// The same, written by us through a buffer.
class AtomicFile {
   public:
    explicit AtomicFile(const std::string& target);
    ~AtomicFile();

    void write(const void* data, size_t size);
    void zeros(size_t count);
    size_t written() const { return total; }
    void commit();

   private:
    void flush();
    TemporaryFile file;
    int descriptor;
    std::vector<uint8_t> buffer;
    size_t total = 0;
};

// Whether both names lead to one file (through links, too).
bool same_file(const std::string& a, const std::string& b);

}  // namespace stillroom
